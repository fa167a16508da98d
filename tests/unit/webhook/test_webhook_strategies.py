"""The strategy of a Deployment inside which a release goes on: held in the same write, and given back."""

import json
from typing import Any

import pytest

from rollout import names
from rollout.strategy import Kept
from tests.unit.webhook import reviews
from tests.unit.webhook.reviews import RECONCILER, closed, deployment
from tests.unit.webhook.test_webhook_deployments import answer, response

Json = dict[str, Any]

OWN = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
WIDE = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "60%", "maxUnavailable": 1}}
NARROW = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "25%"}}
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


def rolling(surge: int | str, unavailable: int | str) -> Json:
    """Return a rolling update with these limits."""
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


@pytest.mark.parametrize("unavailable", [0, 1, "50%"])
def test_patch_of_one_limit_changes_that_one_of_the_owners(unavailable: int | str) -> None:
    """The API server has merged it with the strategy that is held: the surge of that is not the owner's."""
    new = divided(strategy=rolling(0, unavailable))

    result = reviews.patched(new, answer(divided(), new))

    assert result == divided(kept=Kept(rolling("25%", unavailable), NARROW))


@pytest.mark.parametrize(
    "bad",
    [rolling(1, value) for value in ("abc%", "25", "25 %", "1.5%", -3, "150%", True, "٣%")]
    + [rolling(-5, 1), {"type": "Foo"}, {"type": "RollingUpdate", "rollingUpdate": 5}],
    ids=str,
)
def test_strategy_that_is_none_is_left_for_the_api_server_to_refuse(bad: Json) -> None:
    """Kept for the end, it would keep the release from ending; refused, it is told in the usual words."""
    new = divided(strategy=bad)

    result = reviews.patched(new, answer(divided(), new))

    assert result["spec"]["strategy"] == bad


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


def test_new_deployment_has_the_strategy_that_was_declared() -> None:
    """Exported in the middle of a release, its manifest says the narrow one."""
    result = reviews.patched(divided(), answer(None, divided()))

    assert result["spec"]["strategy"] == OWN
    assert result["metadata"]["annotations"] == {}
