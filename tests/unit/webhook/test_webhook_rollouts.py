"""Writes of Rollouts: approvals stamped and checked, plans checked, in both versions."""

import copy
import json
from typing import Any

import msgspec
import pytest

from rollout import names
from rollout.conversion import convert
from rollout.validation import Neighbours, Rules
from tests.unit.webhook import reviews
from tests.unit.webhook.reviews import NOW, POLICY, RECONCILER
from webhook import review, rollouts
from webhook.policy import Policy

Json = dict[str, Any]
_DECODER = msgspec.json.Decoder(review.Review[rollouts.Object])
APPROVERS = Policy(RECONCILER, ("release-managers",))
CANARY = {"canaryRevision": "bcdfgbcdfg-k4x9d", "currentStepIndex": 1, "currentStepState": "StepPaused"}
PROGRESSING = {"phase": "Progressing", "canaryStatus": CANARY}
JANES = '{"approval":"k4x9d/1","user":"jane","at":"2026-11-23T06:22:44.000Z"}'


def beta(annotations: Json | None = None, status: Json | None = None, **canary: Any) -> Json:
    """Build a v1beta1 Rollout in the middle of a release."""
    plan = {"enableExtraWorkloadForCanary": True, "steps": [{"replicas": "20%", "pause": {}}], **canary}
    metadata: Json = {"name": "web", "namespace": "shop", "uid": "u"}
    if annotations is not None:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "rollouts.kruise.io/v1beta1",
        "kind": "Rollout",
        "metadata": metadata,
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "strategy": {"canary": plan},
        },
        "status": PROGRESSING if status is None else status,
    }


def alpha(**canary: Any) -> Json:
    """Build a v1alpha1 Rollout."""
    return {
        "apiVersion": "rollouts.kruise.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "objectRef": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
            "strategy": {"canary": {"steps": [{"weight": 20}], **canary}},
        },
    }


def request(old: Json | None, new: Json, **changes: Any) -> review.Request[rollouts.Object]:
    """Decode a review as the webhook does."""
    version = new["apiVersion"].partition("/")[2]
    body = reviews.review(old, new, resource=(names.GROUP, version, "rollouts"), **changes)
    return review.decode(_DECODER, body, names.GROUP, "rollouts")


def stamped(old: Json | None, new: Json, policy: Policy = POLICY, **changes: Any) -> Json:
    """Give the object after the mutating hook."""
    verdict = rollouts.mutate(request(old, new, **changes), policy, NOW)
    return reviews.patched(new, review.encode("uid", verdict))


def validated(
    old: Json | None,
    new: Json,
    policy: Policy = POLICY,
    neighbours: Neighbours = Neighbours(),  # noqa: B008 - a frozen value
    **changes: Any,
) -> Json:
    """Give the validating hook's response."""
    verdict = rollouts.validate(request(old, new, **changes), policy, neighbours, Rules(), NOW)
    found: Json = json.loads(review.encode("uid", verdict))["response"]
    return found


def with_step(**changes: Any) -> Json:
    """Build the Rollout with another cursor in its status."""
    return beta(status={**PROGRESSING, "canaryStatus": {**CANARY, **changes}})


@pytest.mark.parametrize("annotations", [None, {}, {"a": "b"}])
def test_approval_is_stamped_with_its_giver(annotations: Json | None) -> None:
    """Name and time, in the write that approves."""
    new = beta({**(annotations or {}), names.APPROVE: "k4x9d/1"})

    assert stamped(beta(annotations), new)["metadata"]["annotations"][names.APPROVED_BY] == JANES


def test_stamp_is_kept_when_the_approval_is_put_again() -> None:
    """By a GitOps client that knows only the approval."""
    old, new = beta({names.APPROVE: "k4x9d/1", names.APPROVED_BY: JANES}), beta({names.APPROVE: "k4x9d/1"})

    assert stamped(old, new, user="flux") == old


def test_forged_stamp_is_overwritten_and_would_be_denied() -> None:
    """Two hooks, each enough."""
    forged = beta({names.APPROVE: "k4x9d/1", names.APPROVED_BY: JANES.replace("jane", "boss")})

    assert stamped(beta(), forged)["metadata"]["annotations"][names.APPROVED_BY] == JANES
    denied = validated(beta(), forged)["status"]
    assert (denied["code"], denied["reason"]) == (403, "Forbidden")
    assert "sluice.dev/approved-by" in denied["message"]


def test_stamped_approval_of_what_waits_is_admitted() -> None:
    """The whole way: stamped, then validated, without a warning."""
    new = stamped(beta(), beta({names.APPROVE: "k4x9d/1"}))

    assert validated(beta(), new) == {"uid": "uid", "allowed": True}


def test_malformed_approval_is_denied_with_the_right_one() -> None:
    """HTTP 422, and the command to run."""
    denied = validated(beta(), beta({names.APPROVE: "yes"}))["status"]

    assert (denied["code"], denied["reason"]) == (422, "Invalid")
    assert 'Invalid value: "yes"' in denied["message"]
    assert "kubectl annotate rollout web -n shop sluice.dev/approve=k4x9d/1 --overwrite" in denied["message"]


def test_approval_of_another_release_is_admitted_with_a_warning() -> None:
    """It approves nothing, but GitOps may bring it back for ever."""
    found = validated(beta(), stamped(beta(), beta({names.APPROVE: "aaaaa/1"})))

    assert found["allowed"] is True
    assert "approves nothing now" in found["warnings"][0]


def test_allow_list_holds_for_the_annotation() -> None:
    """Who may write Rollouts may still not approve."""
    new = stamped(beta(), beta({names.APPROVE: "k4x9d/1"}), APPROVERS, groups=("release-managers",))

    assert validated(beta(), new, APPROVERS)["status"]["code"] == 403
    assert validated(beta(), new, APPROVERS, groups=("release-managers",))["allowed"] is True
    assert validated(new, new, APPROVERS)["allowed"] is True


@pytest.mark.parametrize(
    "new",
    [with_step(currentStepState="StepReady"), with_step(nextStepIndex=1), with_step(currentStepIndex=0)],
    ids=["StepReady", "jump", "cursor"],
)
def test_allow_list_holds_for_the_status(new: Json) -> None:
    """A move of the cursor is an approval by another door."""
    assert validated(beta(), new, APPROVERS, sub_resource="status")["status"]["code"] == 403
    assert (
        validated(beta(), new, APPROVERS, groups=("release-managers",), sub_resource="status")["allowed"]
        is True
    )
    assert validated(beta(), new, APPROVERS, user=RECONCILER, sub_resource="status")["allowed"] is True


def test_giver_of_step_ready_goes_into_the_audit_log() -> None:
    """The status cannot carry a name."""
    found = validated(beta(), with_step(currentStepState="StepReady"), sub_resource="status")

    assert found["auditAnnotations"] == {
        "step-approval": "currentStepState StepReady at step 1",
        "step-approved-by": "jane",
    }


def test_dropped_status_fields_ask_for_nothing() -> None:
    """A typed client like vela's forgets nextStepIndex in every write."""
    old = with_step(nextStepIndex=-1)

    assert validated(old, beta(), APPROVERS, sub_resource="status")["allowed"] is True


def test_impossible_status_is_denied() -> None:
    """What is not a state of a step."""
    found = validated(beta(), with_step(currentStepState="Done"), sub_resource="status")

    assert found["status"]["code"] == 422
    assert "Status.CanaryStatus.CurrentStepState" in found["status"]["message"]


def test_bad_plan_is_denied_with_its_messages() -> None:
    """As the API's users know them."""
    found = validated(None, beta(steps=[]))["status"]

    assert (found["code"], found["reason"]) == (422, "Invalid")
    assert "The number of Canary.Steps cannot be empty" in found["message"]


def test_v1alpha1_plan_is_judged_in_its_own_terms() -> None:
    """The hook gets it in the version it was sent in."""
    assert validated(None, alpha())["allowed"] is True
    assert "weight" in validated(None, alpha(steps=[{"weight": 200}]))["status"]["message"]


def test_second_rollout_for_one_deployment_is_denied() -> None:
    """Whatever the spelling of its apiVersion."""
    other = beta()
    other["metadata"] = {"name": "other", "namespace": "shop"}
    other["spec"]["workloadRef"]["apiVersion"] = "apps/v1beta2"

    found = validated(None, beta(), neighbours=Neighbours([other]))

    assert "conflict with Rollout(shop/other)" in found["status"]["message"]


def test_deleted_rollout_is_not_held_up_by_its_plan() -> None:
    """Its finalizer must come off, though its plan would be refused today."""
    old, new = (_deleted(beta(steps=[])) for _ in range(2))
    new["metadata"]["finalizers"] = []

    assert validated(old, new)["allowed"] is True


def test_deleted_rollout_keeps_what_its_end_relies_on() -> None:
    """Pointed elsewhere while its release is being ended, nobody would find the gated Deployment again."""
    old, new = (_deleted(beta()) for _ in range(2))
    old["status"] = {"phase": "Terminating"}
    new["spec"]["workloadRef"]["name"] = "another"

    assert "'ObjectRef' field is immutable" in validated(old, new)["status"]["message"]


def _deleted(rollout: dict[str, Any]) -> dict[str, Any]:
    metadata = {**rollout["metadata"], "deletionTimestamp": "2026-11-23T06:22:44Z"}
    return {**rollout, "metadata": {**metadata, "finalizers": [names.ROLLOUT_FINALIZER]}}


def test_client_of_v1alpha1_is_told_what_it_drops_unseen() -> None:
    """A path match cannot be shown in v1alpha1; who rewrites its step there is told so."""
    path = {"value": "/beta"}
    old = convert(beta(steps=[{"replicas": 2, "matches": [{"path": path}], "pause": {}}]), "v1alpha1")
    assert isinstance(old, dict)
    kept, rewritten = copy.deepcopy(old), copy.deepcopy(old)
    kept["spec"]["strategy"]["paused"] = True
    rewritten["spec"]["strategy"]["canary"]["steps"] = [{"weight": 30, "replicas": 2, "pause": {}}]

    told = validated(old, rewritten)["warnings"]

    assert [each.partition(":")[0] for each in told] == ["spec.strategy.canary.steps[0]"]
    assert "warnings" not in validated(old, kept)


def test_second_pass_of_one_request_changes_nothing() -> None:
    """Reinvoked, the mutating hook has nothing to add."""
    new = stamped(beta(), beta({names.APPROVE: "k4x9d/1"}))

    assert stamped(beta(), new) == new


@pytest.mark.parametrize("metadata", [[], {"annotations": []}, {"annotations": {"a": 1}}, None])
def test_object_of_another_shape_is_malformed(metadata: Any) -> None:
    """Never an exception, never an answer."""
    body = json.loads(reviews.review(None, beta(), resource=(names.GROUP, "v1beta1", "rollouts")))
    body["request"]["object"]["metadata"] = metadata

    with pytest.raises(review.Malformed):
        review.decode(_DECODER, json.dumps(body).encode(), names.GROUP, "rollouts")


def test_class_of_ingress_that_needs_a_script_is_warned_of_once() -> None:
    """A typing error is told in the terminal; admission itself does not see the scripts."""
    routing = {"service": "web", "ingress": {"name": "web", "classType": "ngnix"}}
    new = beta(trafficRoutings=[routing])

    warned = validated(None, new)

    assert warned["allowed"] is True
    assert warned["warnings"] == [
        (
            "ingress.classType ngnix is not built in: a release waits for key "
            "lua.traffic.routing.ingress.ngnix in ConfigMap kruise-rollout-configuration"
        )
    ]
    assert validated(new, new).get("warnings", []) == []
