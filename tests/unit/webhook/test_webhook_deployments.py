"""Updates of Deployments: gates closed and held, only our own fields touched, the same answer every time."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout import names
from rollout.gate import Deployment, Governor, Standing
from rollout.revision import release_id, same_template, template_digest
from rollout.strategy import Kept
from tests.unit.webhook import reviews
from tests.unit.webhook.reviews import (
    HELD,
    LABEL,
    NARROW,
    NOW,
    OWN,
    POLICY,
    RECONCILER,
    WIDE,
    closed,
    deployment,
    governor,
    rolling,
)
from webhook import deployments, review
from webhook.policy import Policy

Json = dict[str, Any]
_DECODER = msgspec.json.Decoder(review.Review[Deployment])
APPROVERS = Policy(RECONCILER, ("release-managers",))


def answer(
    old: Json | None,
    new: Json,
    governors: Sequence[Governor] = (governor(),),
    policy: Policy = POLICY,
    **request: Any,
) -> bytes:
    """Give the webhook's answer, over the wire format."""
    body = reviews.review(old, new, **request)
    asked = review.decode(_DECODER, body, deployments.GROUP, deployments.PLURAL)
    return review.encode(asked.uid, deployments.admit(asked, governors, policy, NOW))


def response(*arguments: Any, **request: Any) -> Json:
    """Give the response inside the answer."""
    found: Json = json.loads(answer(*arguments, **request))["response"]
    return found


def release_of(new: Json, generation: int = 7) -> str:
    """Give the release id that a template gets."""
    return release_id("uid-of-web", "u", template_digest(new["spec"]["template"]), generation)


def test_gate_closes_in_the_same_write_as_the_template() -> None:
    """Paused, both annotations, the label: and nothing else."""
    new = deployment("echo:2")

    result = reviews.patched(new, answer(deployment("echo:1"), new))

    annotations = {names.IN_PROGRESSING: '{"rolloutName":"web"}', names.RELEASE: release_of(new)}
    metadata = {**new["metadata"], "annotations": annotations, "labels": LABEL}
    assert result == {**new, "metadata": metadata, "spec": {**new["spec"], "paused": True}}


def test_gate_closes_beside_annotations_of_others() -> None:
    """Keys with slashes and tildes, an explicit ``paused: false``: all survive as they should."""
    new = deployment("echo:2", {"a/b~c": "1"}, {"team": "shop"}, paused=False)

    result = reviews.patched(new, answer(deployment("echo:1"), new))

    assert result["metadata"]["annotations"]["a/b~c"] == "1"
    assert result["metadata"]["annotations"][names.RELEASE] == release_of(new)
    assert result["metadata"]["labels"] == {"team": "shop", **LABEL}
    assert result["spec"]["paused"] is True


def test_reconciler_opens_the_gate() -> None:
    """Its own writes pass as they are, without a word."""
    found = response(closed(), deployment("echo:2"), user=RECONCILER)

    assert found == {"uid": found["uid"], "allowed": True}


@pytest.mark.parametrize(
    "new",
    [
        deployment("echo:2"),
        deployment("echo:2", {}, {}),
        deployment("echo:2", HELD, LABEL),
        deployment("echo:2", HELD, LABEL, paused=False),
        closed(annotations={names.RELEASE: "zzzzz"}),
        closed(annotations={names.IN_PROGRESSING: '{"rolloutName":"other"}'}),
        deployment("echo:2", {}, LABEL, paused=True),
    ],
    ids=[
        "replace",
        "emptied",
        "resume",
        "apply paused: false",
        "other release",
        "other rollout",
        "annotations dropped",
    ],
)
def test_closed_gate_is_held_and_says_so(new: Json) -> None:
    """Whatever would open it: the gate is as before, and the user's terminal says how to go on."""
    found = answer(closed(), new)

    result = reviews.patched(new, found)
    assert result["spec"]["paused"] is True
    assert {key: result["metadata"]["annotations"][key] for key in HELD} == HELD
    assert result["metadata"]["labels"][names.WORKLOAD_TYPE] == "deployment"
    said = json.loads(found)["response"]["warnings"]
    assert "held by Rollout web" in said[0]
    assert "kubectl annotate rollout web -n shop sluice.dev/approve=k4x9d/1 --overwrite" in said[1]
    assert "roll back" in said[2]


def test_unrelated_update_behind_a_closed_gate_passes_untouched() -> None:
    """Scaling through the main resource, labels: nothing to hold, nothing to say."""
    found = response(closed(), closed(replicas=9))

    assert found == {"uid": found["uid"], "allowed": True}


def test_known_step_is_in_the_approve_command() -> None:
    """The step comes from the Rollout's status, if that speaks of this release."""
    waiting = governor(position=reviews.at_step(2))
    another = governor(position=reviews.at_step(2, release="other"))

    assert "sluice.dev/approve=k4x9d/2" in response(closed(), deployment("echo:2"), [waiting])["warnings"][1]
    assert "sluice.dev/approve=k4x9d/1" in response(closed(), deployment("echo:2"), [another])["warnings"][1]


def test_third_template_gets_a_release_of_its_own() -> None:
    """Mid-release, the gate stays closed and the release id changes with the template."""
    new = closed("echo:3")

    found = answer(closed("echo:2"), new)

    result = reviews.patched(new, found)
    assert result["metadata"]["annotations"][names.RELEASE] == release_of(new) != "k4x9d"
    assert (
        f"replaces the release in progress by {release_of(new)}"
        in json.loads(found)["response"]["warnings"][0]
    )


def test_switch_to_recreate_mid_release_is_put_off() -> None:
    """The old strategy stays whole, and the user learns of it."""
    new = closed(strategy={"type": "Recreate"})

    found = answer(closed(strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}), new)

    assert reviews.patched(new, found)["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1},
    }
    assert "spec.strategy was kept" in json.loads(found)["response"]["warnings"][0]


@pytest.mark.parametrize(
    ("new", "standing", "why"),
    [
        (deployment("echo:2"), Standing.DISABLED, "disabled"),
        (deployment("echo:2"), Standing.DELETING, "being deleted"),
        (deployment("echo:2"), Standing.INERT, "nothing is released by the Rollout"),
        (deployment("echo:2", replicas=0), Standing.ACTIVE, "replicas is 0"),
        (deployment("echo:2", strategy={"type": "Recreate"}), Standing.ACTIVE, "Recreate"),
    ],
)
def test_ungated_release_says_so(new: Json, standing: Standing, why: str) -> None:
    """Untouched, but never silently."""
    found = answer(deployment("echo:1"), new, [governor(standing)])

    assert reviews.operations(found) == []
    assert why in json.loads(found)["response"]["warnings"][0]


def test_deployment_of_a_vanished_rollout_can_be_resumed() -> None:
    """Nothing is carried, the leftovers go, and until then a warning says how."""
    resumed = deployment("echo:2", HELD, LABEL)

    found = answer(closed(), resumed, [])

    assert reviews.patched(resumed, found)["metadata"]["annotations"] == {}
    assert "kubectl rollout resume deployment/web" in response(closed(), closed("echo:3"), [])["warnings"][0]


def test_forged_gate_is_left_out_and_named() -> None:
    """A manifest exported mid-release brings our annotations; they go, the user's own pause stays."""
    new = deployment("echo:1", HELD, paused=True)

    found = answer(deployment("echo:1"), new)

    result = reviews.patched(new, found)
    assert result["metadata"]["annotations"] == {}
    assert result["spec"]["paused"] is True
    assert "exported during a release" in json.loads(found)["response"]["warnings"][0]


FORGED = '{"approval":"k4x9d/2","user":"ceo","at":"2026-11-23T06:22:44.000Z"}'


@pytest.mark.parametrize(
    "change",
    [
        {names.APPROVE: "k4x9d/2"},
        {names.APPROVED_BY: FORGED},
        {names.IN_PROGRESSING: None},
        {names.RELEASE: "aaaaa"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_status_is_no_way_round_to_gate_and_approval(change: Json) -> None:
    """The API server lets whoever writes /status change annotations."""
    new = closed()
    new["metadata"]["annotations"] |= change
    new["metadata"]["annotations"] = {
        key: value for key, value in new["metadata"]["annotations"].items() if value is not None
    }

    found = response(closed(), new, sub_resource="status", policy=APPROVERS, groups=("release-managers",))

    assert found["status"]["code"] == 403
    assert f"{next(iter(change))} cannot be changed through /status" in found["status"]["message"]
    assert response(closed(), new, sub_resource="status", user=RECONCILER)["allowed"] is True


def test_status_without_a_change_of_ours_is_left_alone() -> None:
    """The Deployment controller and everybody else who reports."""
    new = closed("echo:2", {"deployment.kubernetes.io/revision": "2"})

    assert response(closed("echo:2"), new, sub_resource="status").keys() == {"uid", "allowed"}


def test_new_deployment_brings_no_release_along() -> None:
    """Exported or restored with a closed gate, it would wait for ever; planted, a stamp would approve."""
    new = closed(annotations={names.APPROVE: "k4x9d/2", names.APPROVED_BY: FORGED, "mine": "1"})

    found = answer(None, new)

    result = reviews.patched(new, found)
    assert result["metadata"]["annotations"] == {names.APPROVE: "k4x9d/2", "mine": "1"}
    assert "paused" not in result["spec"]
    (said,) = json.loads(found)["response"]["warnings"]
    assert names.APPROVED_BY in said
    assert "spec.paused" in said
    assert reviews.operations(answer(None, result)) == []


def test_new_deployment_keeps_its_users_own_pause() -> None:
    """Without the gate's annotation it is not ours."""
    new = deployment(annotations={names.APPROVED_BY: FORGED}, paused=True)

    result = reviews.patched(new, answer(None, new))

    assert result["metadata"]["annotations"] == {}
    assert result["spec"]["paused"] is True


@pytest.mark.parametrize("new", [deployment(), deployment(annotations={names.APPROVE: "k4x9d/2"})])
def test_new_deployment_of_its_own_is_left_alone(new: Json) -> None:
    """Also one that its repository keeps an old approval in."""
    assert response(None, new).keys() == {"uid", "allowed"}


def test_approval_on_the_deployment_is_stamped() -> None:
    """The same annotation as on the Rollout, with the same stamp."""
    new = closed(annotations={names.APPROVE: "k4x9d/2"})

    result = reviews.patched(new, answer(closed(), new, [governor(position=reviews.at_step(2))]))

    stamp = json.loads(result["metadata"]["annotations"][names.APPROVED_BY])
    assert stamp == {"approval": "k4x9d/2", "user": "jane", "at": "2026-11-23T06:22:44.000Z"}


def test_stamp_survives_a_replace_that_keeps_only_the_approval() -> None:
    """And goes with the approval."""
    approved = {
        names.APPROVE: "k4x9d/2",
        names.APPROVED_BY: '{"approval":"k4x9d/2","user":"jane","at":"then"}',
    }
    old, kept, dropped = (
        closed(annotations=approved),
        closed(annotations={names.APPROVE: "k4x9d/2"}),
        closed(),
    )

    assert reviews.patched(kept, answer(old, kept, user="flux")) == old
    assert names.APPROVED_BY not in reviews.patched(dropped, answer(old, dropped))["metadata"]["annotations"]


def test_malformed_approval_is_denied_with_the_right_one() -> None:
    """The message is the command to run."""
    new = closed(annotations={names.APPROVE: "true"})

    found = response(closed(), new, [governor(position=reviews.at_step(2))])

    assert found["allowed"] is False
    assert found["status"]["code"] == 422
    assert 'Invalid value: "true"' in found["status"]["message"]
    assert (
        "kubectl annotate rollout web -n shop sluice.dev/approve=k4x9d/2 --overwrite"
        in found["status"]["message"]
    )
    assert "patch" not in found


def test_malformed_approval_from_before_does_not_block_other_updates() -> None:
    """Only who brings it is told."""
    old = closed(annotations={names.APPROVE: "true"})

    assert response(old, closed(annotations={names.APPROVE: "true"}, replicas=9))["allowed"] is True


def test_approval_of_nothing_is_named_but_let_in() -> None:
    """A GitOps client brings back old approvals: they count for nothing and stop nobody."""
    new = deployment("echo:1", {names.APPROVE: "aaaaa/1"})

    found = response(deployment("echo:1"), new)

    assert found["allowed"] is True
    assert "approves nothing now" in found["warnings"][0]


def test_only_members_of_the_allow_list_approve() -> None:
    """With a list, the API server's own rights are not enough; the same value again needs none."""
    new = closed(annotations={names.APPROVE: "k4x9d/2"})

    assert response(closed(), new, policy=APPROVERS)["status"]["code"] == 403
    assert response(closed(), new, policy=APPROVERS, groups=("release-managers",))["allowed"] is True
    assert response(new, new, policy=APPROVERS)["allowed"] is True


def test_unstamped_approval_is_not_stamped_for_who_may_not_approve() -> None:
    """An approval smuggled in at creation, where no hook looks, stays worthless."""
    new = closed(annotations={names.APPROVE: "k4x9d/2"})

    assert reviews.operations(answer(new, new, policy=APPROVERS)) == []


def test_dry_run_is_answered_as_a_real_run() -> None:
    """Clients like vela and Flux decide by it."""
    old, new = deployment("echo:1"), deployment("echo:2")

    assert answer(old, new, dry_run=True) == answer(old, new)


@pytest.mark.parametrize("changes", [{"sub_resource": "scale"}, {"old": None}])
def test_what_is_no_update_of_the_main_resource_passes(changes: Json) -> None:
    """First deploys are not releases, and subresources change no template."""
    old = changes.pop("old", deployment("echo:1"))
    found = response(old, deployment("echo:2"), **changes)

    assert found == {"uid": found["uid"], "allowed": True}


# --- for any update by anybody -------------------------------------------------------------------

_values = st.sampled_from(
    ["", "true", "k4x9d/1", "zzzzz", '{"rolloutName":"web"}', '{"rolloutName":"x"}', "1"]
)
_keys = [
    names.IN_PROGRESSING,
    names.RELEASE,
    names.APPROVE,
    names.APPROVED_BY,
    names.ROLLOUT_ID,
    "foreign/key",
]
_marks = st.builds(
    lambda kept: {names.STRATEGY: kept.annotation()},
    st.builds(
        Kept,
        st.sampled_from([OWN, WIDE, {"type": "Recreate"}]),
        st.sampled_from([None, NARROW, NARROW]),
        st.sampled_from([None, None, NARROW, rolling(1, "25%")]),
    ),
) | st.sampled_from([{}, {}, {names.STRATEGY: "true"}])
_annotations = st.none() | st.builds(
    lambda said, mark: {**said, **mark}, st.dictionaries(st.sampled_from(_keys), _values), _marks
)
_labels = st.none() | st.dictionaries(
    st.sampled_from([names.WORKLOAD_TYPE, names.ROLLOUT_ID, "app"]), _values
)
_deployments = st.builds(
    deployment,
    st.sampled_from(["echo:1", "echo:2", "echo:3"]),
    _annotations,
    _labels,
    replicas=st.sampled_from([0, 1, 5, None]),
    paused=st.sampled_from([True, False, None]),
    strategy=st.sampled_from(
        [{"type": "RollingUpdate"}, {"type": "Recreate"}, {}, OWN, WIDE, NARROW, rolling(0, 1), rolling(0, 0)]
    ),
)
_governors = st.lists(
    st.builds(governor, st.sampled_from(Standing), st.sampled_from(["web", "x"])), max_size=2
)
_OURS = {
    "/metadata/annotations",
    "/metadata/labels",
    "/spec/paused",
    "/spec/strategy",
    "/metadata/labels/rollouts.kruise.io~1workload-type",
    "/metadata/annotations/rollouts.kruise.io~1in-progressing",
    "/metadata/annotations/sluice.dev~1release",
    "/metadata/annotations/sluice.dev~1approved-by",
    "/metadata/annotations/sluice.dev~1strategy",
}


def is_held(value: Json) -> bool:
    """Whether the gate annotation is there."""
    return bool((value["metadata"].get("annotations") or {}).get(names.IN_PROGRESSING))


@given(old=_deployments, new=_deployments, governors=_governors)
def test_no_user_ever_opens_a_gate_that_a_rollout_needs(
    old: Json, new: Json, governors: list[Governor]
) -> None:
    """Closed before and a Rollout there: closed after, by the same holder."""
    found = answer(old, new, governors)
    in_force = any(each.standing is not Standing.INERT for each in governors)
    if not (is_held(old) and in_force) or not json.loads(found)["response"]["allowed"]:
        return

    result = reviews.patched(new, found)
    held = result["metadata"]["annotations"][names.IN_PROGRESSING]
    assert held == old["metadata"]["annotations"][names.IN_PROGRESSING]
    assert result["spec"]["paused"] is True


@given(old=_deployments, new=_deployments, governors=_governors)
def test_no_new_revision_gets_past_a_rollout_in_force(
    old: Json, new: Json, governors: list[Governor]
) -> None:
    """Unless scaled to zero, recreated or denied: held, in this very write."""
    found = answer(old, new, governors)
    in_force = any(each.standing is Standing.ACTIVE for each in governors)
    changes = not same_template(old["spec"]["template"], new["spec"]["template"])
    exempt = new["spec"]["replicas"] == 0 or new["spec"]["strategy"].get("type") == "Recreate"
    if not (in_force and changes) or exempt or not json.loads(found)["response"]["allowed"]:
        return

    result = reviews.patched(new, found)
    assert is_held(result)
    assert result["spec"]["paused"] is True
    assert len(result["metadata"]["annotations"][names.RELEASE]) == 5


@given(old=_deployments, new=_deployments, governors=_governors)
def test_only_our_own_fields_are_ever_patched(old: Json, new: Json, governors: list[Governor]) -> None:
    """And everything else of the object is as the user wrote it."""
    found = answer(old, new, governors)

    assert {each["path"] for each in reviews.operations(found)} <= _OURS
    result = reviews.patched(new, found)
    foreign = (new["metadata"].get("annotations") or {}).get("foreign/key")
    assert (result["metadata"].get("annotations") or {}).get("foreign/key") == foreign
    assert result["spec"]["template"] == new["spec"]["template"]
    assert result["spec"]["replicas"] == new["spec"]["replicas"]


@given(old=_deployments, new=_deployments, governors=_governors)
def test_patched_object_needs_no_patch(old: Json, new: Json, governors: list[Governor]) -> None:
    """Asked again within the same request, the webhook has nothing to add."""
    found = answer(old, new, governors)

    assert reviews.operations(answer(old, reviews.patched(new, found), governors)) == []


@given(old=_deployments, new=_deployments, governors=_governors)
def test_open_gate_without_release_never_gets_gate_annotations(
    old: Json, new: Json, governors: list[Governor]
) -> None:
    """A forged gate is never taken over, whatever else the update does."""
    found = answer(old, new, governors)
    (first, *_) = json.loads(found)["response"].get("warnings", [""])
    if is_held(old) or first.startswith("held by") or "nothing to roll out" in first:
        return

    assert not is_held(reviews.patched(new, found)) or not json.loads(found)["response"]["allowed"]


@given(old=_deployments, new=_deployments, governors=_governors)
def test_dry_run_equals_the_real_run(old: Json, new: Json, governors: list[Governor]) -> None:
    """Byte for byte."""
    assert answer(old, new, governors, dry_run=True) == answer(old, new, governors)


@given(old=_deployments, new=_deployments, governors=_governors)
def test_reconciler_is_never_touched(old: Json, new: Json, governors: list[Governor]) -> None:
    """It opens gates and moves labels as it must; what it says of a strategy is followed."""
    before, after = ((each["metadata"].get("annotations") or {}).get(names.STRATEGY) for each in (old, new))
    if before != after:
        return
    found = json.loads(answer(old, new, governors, user=RECONCILER))["response"]

    assert found == {"uid": found["uid"], "allowed": True}
