"""The strategy of a Deployment inside which a release goes on: held in the same write, and given back."""

import json
from typing import Any

import pytest

from rollout import names
from rollout.gate import Governor
from rollout.strategy import Kept
from tests.unit.webhook import reviews
from tests.unit.webhook.reviews import (
    LABEL,
    NARROW,
    OWN,
    RECONCILER,
    WIDE,
    closed,
    deployment,
    governor,
    rolling,
)
from tests.unit.webhook.test_webhook_deployments import answer, response

Json = dict[str, Any]

HELD = Kept(OWN, NARROW)


def divided(image: str = "echo:2", strategy: Json = NARROW, kept: Kept | None = HELD) -> Json:
    """Build a Deployment inside which a release goes on."""
    said = {names.STRATEGY: kept.annotation()} if kept else {}
    return closed(image, said, strategy=strategy)


def test_strategy_follows_the_reconcilers_mark_in_the_same_write() -> None:
    """So the field stays its owner's, whatever manager wrote the mark."""
    new = divided(strategy=OWN)

    result = reviews.patched(new, answer(divided(strategy=OWN, kept=None), new, user=RECONCILER))

    assert result == divided(strategy=NARROW)


def test_strategy_is_given_back_with_the_write_that_opens_the_gate() -> None:
    """The mark that says so goes with it."""
    new = deployment("echo:2", {names.STRATEGY: Kept(OWN).annotation()}, strategy=NARROW)

    result = reviews.patched(new, answer(divided(), new, user=RECONCILER))

    assert result == deployment("echo:2", {}, strategy=OWN)


def test_mark_that_stands_already_moves_nothing() -> None:
    """Every other write of the reconciler's passes as it is."""
    assert response(divided(), divided("echo:3"), user=RECONCILER).keys() == {"uid", "allowed"}


@pytest.mark.parametrize("kept", [HELD, None], ids=["with the mark", "without it"])
def test_what_somebody_writes_meanwhile_is_kept_for_the_end(kept: Kept | None) -> None:
    """The narrow strategy stays in force: one moment of a wider one starts pods of the wrong version."""
    new = divided(strategy=WIDE, kept=kept)

    result = reviews.patched(new, answer(divided(), new))

    assert result == divided(kept=Kept(WIDE, NARROW))


@pytest.mark.parametrize("unavailable", [0, 1, "50%"])
def test_patch_of_one_limit_changes_that_one_of_the_owners(unavailable: int | str) -> None:
    """The API server has merged it with the strategy that is held: the surge of that is not the owner's."""
    new = divided(strategy=rolling(0, unavailable))

    result = reviews.patched(new, answer(divided(), new))

    assert result == divided(kept=Kept(rolling("25%", unavailable), NARROW))


@pytest.mark.parametrize(
    "bad",
    [rolling(1, value) for value in ("abc%", "25", "25 %", "1.5%", -3, "150%", True, "٣%")]
    + [rolling(-5, 1), rolling("00%", "00%"), {"type": "Foo"}, {"type": "RollingUpdate", "rollingUpdate": 5}],
    ids=str,
)
@pytest.mark.parametrize("governors", [(governor(),), ()], ids=["held", "stranded"])
def test_strategy_that_is_none_is_refused(bad: Json, governors: tuple[Governor, ...]) -> None:
    """Kept for the end, it would keep the release from ending."""
    found = response(divided(), divided(strategy=bad), governors)

    assert found["allowed"] is False
    assert found["status"]["code"] == 422
    assert found["status"]["message"].startswith("spec.strategy: Invalid value: ")


@pytest.mark.parametrize("surge", ["0000000100%", "99999999999999999999%"])
def test_strategy_is_held_over_any_that_the_api_server_accepts(surge: str) -> None:
    """Of many digits, too: taken for none, it would be in force behind the gate."""
    new = divided(strategy=rolling(surge, 1))

    assert reviews.patched(new, answer(divided(), new)) == divided(kept=Kept(rolling(surge, 1), NARROW))


def test_whoever_writes_another_strategy_is_told_what_becomes_of_it() -> None:
    """And who applies his own every second is not."""
    said, nothing = (response(divided(), divided(strategy=each)).get("warnings", []) for each in (WIDE, OWN))

    assert said[0].startswith("spec.strategy is held for a release that goes on inside the Deployment")
    assert nothing == []


@pytest.mark.parametrize("kept", [Kept(OWN, NARROW), Kept(OWN, None, NARROW)], ids=["held", "ended"])
def test_next_release_does_not_take_the_owners_strategy_for_the_one_that_was_left_held(kept: Kept) -> None:
    """A mark was left, and its owner's strategy is in force already: the next release begins with that."""
    mark = {names.STRATEGY: kept.annotation()}
    old, new = (deployment(image, mark, LABEL, strategy=WIDE) for image in ("echo:1", "echo:2"))

    result = reviews.patched(new, answer(old, new))

    assert result["spec"]["strategy"] == WIDE
    assert names.STRATEGY not in result["metadata"]["annotations"]


@pytest.mark.parametrize("kept", [HELD, None], ids=["with the mark", "without it"])
@pytest.mark.parametrize(("wrote", "expected"), [(NARROW, OWN), (WIDE, WIDE)], ids=["held", "new"])
def test_who_resumes_a_stranded_deployment_gets_his_strategy(
    kept: Kept | None, wrote: Json, expected: Json
) -> None:
    """As it was declared, or as it is in the same write; nothing of ours stays."""
    new = divided(strategy=wrote, kept=kept)
    new["spec"]["paused"] = False

    result = reviews.patched(new, answer(divided(), new, ()))

    assert result["spec"]["strategy"] == expected
    assert names.STRATEGY not in result["metadata"]["annotations"]


def test_new_strategy_of_a_stranded_deployment_is_kept_for_its_end() -> None:
    """Still paused, it has pods of two versions: the narrow one stays in force, and who writes is told."""
    new = divided(strategy=WIDE)

    assert reviews.patched(new, answer(divided(), new, ())) == divided(kept=Kept(WIDE, NARROW))
    assert any("spec.strategy is held" in each for each in response(divided(), new, ())["warnings"])


def test_own_strategy_applied_again_changes_nothing() -> None:
    """As a client does that applies its manifest every second."""
    found = answer(divided(), divided(strategy=OWN))

    assert reviews.patched(divided(strategy=OWN), found) == divided()
    assert "warnings" not in json.loads(found)["response"]


def test_recreate_is_neither_in_force_nor_kept() -> None:
    """Given back with two revisions running, it would end the old one at once."""
    recreate = {"type": "Recreate"}

    assert (
        reviews.patched(divided(strategy=recreate), answer(divided(), divided(strategy=recreate)))
        == divided()
    )


def test_nobody_else_plants_a_strategy() -> None:
    """It would be written over the owner's when the next release ends."""
    old, new = deployment(), deployment(annotations={names.STRATEGY: HELD.annotation()})

    assert reviews.patched(new, answer(old, new))["metadata"]["annotations"] == {}


def test_gate_that_nobody_holds_opens_with_the_owners_strategy() -> None:
    """With the Rollout gone, whoever resumes the Deployment gets it as it was declared."""
    new = {**divided(), "spec": {**divided()["spec"], "paused": False}}

    result = reviews.patched(new, answer(divided(), new, ()))

    assert result["spec"]["strategy"] == OWN
    assert result["metadata"]["annotations"] == {}


@pytest.mark.parametrize(("wrote", "expected"), [(NARROW, OWN), (WIDE, WIDE)], ids=["exported", "edited"])
def test_new_deployment_has_the_strategy_that_was_declared(wrote: Json, expected: Json) -> None:
    """Exported in the middle of a release, its manifest says the narrow one; edited, it says its owner's."""
    new = divided(strategy=wrote)
    found = answer(None, new)

    result = reviews.patched(new, found)
    (said,) = json.loads(found)["response"]["warnings"]

    assert result["spec"]["strategy"] == expected
    assert result["metadata"]["annotations"] == {}
    assert ("spec.strategy" in said) == (wrote is NARROW)
