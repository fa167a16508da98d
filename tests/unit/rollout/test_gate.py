"""The gate closes on a new revision or release id, holds whatever is written, and is nobody's to forge."""

import json
from typing import Any

import msgspec
import pytest

from rollout import gate, names
from rollout.gate import Close, Deployment, Governor, Hold, Pass, Reason, Release, Standing, Stranded
from rollout.revision import release_id, template_digest
from tests.unit.rollout.rollout_objects import beta

Json = dict[str, Any]
HELD = {names.IN_PROGRESSING: '{"rolloutName":"web"}', names.RELEASE: "k4x9d"}


def deployment(image: str = "echo:1", **changes: Any) -> Deployment:
    """Build a Deployment as admission decodes it."""
    metadata = {"name": "web", "namespace": "shop", "generation": 7, **changes.pop("metadata", {})}
    labels = changes.pop("template_labels", {"app": "web"})
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"image": image}]}}
    spec = {"template": template, "strategy": {"type": "RollingUpdate"}, "replicas": 5, **changes}
    return msgspec.json.decode(json.dumps({"metadata": metadata, "spec": spec}).encode(), type=Deployment)


def governor(name: str = "web", standing: Standing = Standing.ACTIVE, created: str = "1") -> Governor:
    """Build a Rollout that refers to the Deployment."""
    return Governor(name, "shop", f"uid-{name}", standing, created, None)


def test_gate_closes_when_the_template_changes() -> None:
    """A new revision starts a release that is named by rollout, template and generation."""
    old, new = deployment("echo:1"), deployment("echo:2")

    digest = template_digest(msgspec.json.decode(new.spec.template))
    assert gate.decide(old, new, [governor()]) == Close(
        governor(), release_id("uid-web", old.metadata.uid, digest, 7)
    )


@pytest.mark.parametrize("where", ["labels", "annotations"])
def test_gate_closes_when_the_rollout_id_changes(where: str) -> None:
    """The user's own release id counts as a label and as an annotation."""
    old = deployment(metadata={where: {names.ROLLOUT_ID: "1"}})
    new = deployment(metadata={where: {names.ROLLOUT_ID: "2"}})

    decision = gate.decide(old, new, [governor()])
    assert isinstance(decision, Close)
    assert decision.empty


def test_gate_stays_open_when_the_rollout_id_only_moves_or_goes() -> None:
    """The same id in another place is no other id, and no id asks for nothing."""
    label = deployment(metadata={"labels": {names.ROLLOUT_ID: "1"}})
    annotation = deployment(metadata={"annotations": {names.ROLLOUT_ID: "1"}})

    assert gate.decide(label, annotation, [governor()]) == Pass(governor())
    assert gate.decide(label, deployment(), [governor()]) == Pass(governor())


@pytest.mark.parametrize(
    "new",
    [
        deployment(replicas=9),
        deployment(metadata={"labels": {"team": "a"}}),
        deployment(template_labels={"app": "web", names.POD_TEMPLATE_HASH: "abc"}),
        deployment(paused=True),
    ],
    ids=["replicas", "label", "hash label in the template", "paused by its user"],
)
def test_gate_stays_open_when_the_revision_stays(new: Deployment) -> None:
    """What is no new revision is no release."""
    assert gate.decide(deployment(), new, [governor()]) == Pass(governor())


def test_deployment_without_rollout_is_left_alone() -> None:
    """No Rollout refers to it: whatever changes, nothing is gated."""
    assert gate.decide(deployment("echo:1"), deployment("echo:2"), []) == Pass(None)


@pytest.mark.parametrize(
    ("new", "standing", "reason"),
    [
        (deployment("echo:2"), Standing.DISABLED, Reason.DISABLED),
        (deployment("echo:2"), Standing.DELETING, Reason.DELETING),
        (deployment("echo:2"), Standing.INERT, Reason.INERT),
        (deployment("echo:2", replicas=0), Standing.ACTIVE, Reason.NO_REPLICAS),
        (deployment("echo:2", strategy={"type": "Recreate"}), Standing.ACTIVE, Reason.RECREATES),
    ],
    ids=lambda value: value.value if isinstance(value, Reason) else "",
)
def test_release_that_cannot_be_gated_is_named(new: Deployment, standing: Standing, reason: Reason) -> None:
    """Each exemption has its reason, which becomes a warning."""
    refers = governor(standing=standing)

    assert gate.decide(deployment("echo:1"), new, [refers]) == Release(refers, reason)


def test_absent_replicas_mean_one() -> None:
    """Only an explicit 0 is scaled to zero: the API's default is 1."""
    assert isinstance(gate.decide(deployment(), deployment("echo:2", replicas=None), [governor()]), Close)


def test_closed_gate_holds_when_the_new_object_forgets_it() -> None:
    """What the old object says counts: a replace without our annotations opens nothing."""
    old, new = deployment("echo:2", metadata={"annotations": HELD}, paused=True), deployment("echo:2")

    decision = gate.decide(old, new, [governor()])

    assert decision == Hold(governor(), HELD[names.IN_PROGRESSING], "k4x9d", starts=False)
    assert gate.annotations(decision, old, new) == HELD
    assert gate.labels(decision, old) == {names.WORKLOAD_TYPE: "deployment"}


def test_template_change_behind_a_closed_gate_names_another_release() -> None:
    """An approval of the release before must not count for this one."""
    old, new = deployment("echo:2", metadata={"annotations": HELD}), deployment("echo:3")

    decision = gate.decide(old, new, [governor()])

    assert isinstance(decision, Hold)
    assert decision.starts
    assert decision.release not in {None, "k4x9d"}


@pytest.mark.parametrize("standing", [Standing.ACTIVE, Standing.DISABLED, Standing.DELETING])
def test_closed_gate_holds_whatever_the_rollout_stands(standing: Standing) -> None:
    """Disabled or deleted mid-release, it is the reconciler who opens the gate, in the right order."""
    old = deployment("echo:2", metadata={"annotations": HELD})

    assert isinstance(gate.decide(old, deployment("echo:1"), [governor(standing=standing)]), Hold)


def test_gate_that_nobody_would_open_is_not_held() -> None:
    """With the Rollout gone, a person gets their Deployment back: resumed, nothing of ours stays."""
    old = deployment("echo:2", metadata={"annotations": HELD}, paused=True)
    resumed = deployment("echo:2", metadata={"annotations": HELD})

    assert gate.decide(old, resumed, []) == Stranded()
    assert gate.annotations(Stranded(), old, old) == {}
    assert gate.annotations(Stranded(), old, resumed) == {names.IN_PROGRESSING: None, names.RELEASE: None}
    assert gate.labels(Stranded(), old) == {}


def test_gate_of_a_rollout_that_does_nothing_is_not_held() -> None:
    """It would never open it: as with no Rollout at all, whoever may edit the Deployment gets it back."""
    inert = governor(standing=Standing.INERT)
    old = deployment("echo:2", metadata={"annotations": HELD}, paused=True)
    resumed = deployment("echo:3", metadata={"annotations": HELD})
    decision = gate.decide(old, resumed, [inert])

    assert decision == Stranded(inert)
    assert gate.annotations(decision, old, resumed) == {names.IN_PROGRESSING: None, names.RELEASE: None}
    assert gate.annotations(decision, old, old) == {}
    assert gate.labels(decision, old) == {}
    assert gate.labels(Pass(inert), old) == {}


def test_rollout_that_does_nothing_never_stands_in_front_of_one_in_force() -> None:
    """Though its name is on the gate: the other one can open it."""
    inert, other = governor("web", Standing.INERT, "1"), governor("other", created="2")
    old = deployment("echo:2", metadata={"annotations": HELD}, paused=True)

    assert gate.choose([inert, other], HELD[names.IN_PROGRESSING]) == other
    assert gate.decide(old, deployment("echo:2"), [inert, other]) == Hold(
        other, HELD[names.IN_PROGRESSING], "k4x9d", starts=False
    )


def test_deployment_that_is_being_deleted_is_left_alone() -> None:
    """Its pods are going: holding it would only keep finalizers from being lifted."""
    gone = deployment("echo:2", metadata={"annotations": HELD, "deletionTimestamp": "2026-11-23T06:22:44Z"})

    assert gate.decide(gone, deployment("echo:3"), [governor()]) == Pass(None)


def test_forged_gate_is_left_out() -> None:
    """Gate annotations that a user writes on an open gate do not close it and name no release."""
    old, new = deployment(), deployment(metadata={"annotations": HELD})

    assert gate.decide(old, new, [governor()]) == Pass(governor())
    assert gate.annotations(Pass(governor()), old, new) == {names.IN_PROGRESSING: None, names.RELEASE: None}


def test_leftover_release_name_is_restored_not_chosen() -> None:
    """What the last release left may go, but not change."""
    old = deployment(metadata={"annotations": {names.RELEASE: "aaaaa"}})
    changed = deployment(metadata={"annotations": {names.RELEASE: "bbbbb"}})

    assert gate.annotations(Pass(None), old, changed)[names.RELEASE] == "aaaaa"
    assert names.RELEASE not in gate.annotations(Pass(None), old, deployment())


def test_label_of_a_governed_deployment_is_kept_until_its_rollout_goes() -> None:
    """A replace that drops the label must not take the Deployment out of the strict hook's sight."""
    labelled = deployment(metadata={"labels": {names.WORKLOAD_TYPE: "deployment"}})

    assert gate.labels(Pass(governor()), labelled) == {names.WORKLOAD_TYPE: "deployment"}
    assert gate.labels(Pass(governor(standing=Standing.DELETING)), labelled) == {}
    assert gate.labels(Pass(None), labelled) == {}
    assert gate.labels(Pass(governor()), deployment()) == {}


def test_switch_to_recreate_waits_while_the_gate_is_closed() -> None:
    """Promoted with Recreate, every pod would end at once; one that has it already keeps it."""
    old = deployment(metadata={"annotations": HELD})
    new = deployment(strategy={"type": "Recreate"})
    decision = gate.decide(old, new, [governor()])

    assert gate.restores_strategy(decision, old, new)
    assert not gate.restores_strategy(decision, new, new)
    assert not gate.restores_strategy(Pass(governor()), old, new)


def test_rollout_that_counts_is_the_holder_then_one_in_force_then_the_oldest() -> None:
    """Several Rollouts for one Deployment are refused, but may exist from before."""
    disabled, young, old = (
        governor("a", Standing.DISABLED, "1"),
        governor("b", created="3"),
        governor("c", created="2"),
    )

    assert gate.choose([disabled, young, old], None) == old
    assert gate.choose([disabled, young, old], gate.held_by("a")) == disabled
    assert gate.choose([disabled], None) == disabled
    assert gate.choose([], None) is None


@pytest.mark.parametrize("holder", ["true", "{", "[]", '{"rolloutName":1}', "[" * 5000])
def test_unreadable_holder_still_holds(holder: str) -> None:
    """Whatever the annotation says, the gate is closed; it just names nobody."""
    old = deployment(metadata={"annotations": {names.IN_PROGRESSING: holder}})

    assert gate.holder_name(holder) == ""
    assert isinstance(gate.decide(old, deployment("echo:2"), [governor()]), Hold)


@pytest.mark.parametrize(
    ("reference", "deployment_name"),
    [
        ({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "web"),
        ({"apiVersion": "apps/v1beta1", "kind": "Deployment", "name": "web"}, "web"),
        ({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet", "name": "web"}, None),
        ({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web"}, None),
        ({"apiVersion": "v1", "kind": "Deployment", "name": "web"}, None),
        ({}, None),
    ],
)
def test_rollout_refers_by_group_and_kind_whatever_the_version(
    reference: Json, deployment_name: str | None
) -> None:
    """Two spellings of one workload are one workload."""
    assert gate.refers_to({"spec": {"workloadRef": reference}}) == deployment_name


def stored(going: str | None = None, **changes: Any) -> Json:
    """Build a Rollout as the API server stores it."""
    metadata: Json = {"name": "web", "namespace": "shop", "uid": "u", "creationTimestamp": "1"}
    rollout = beta()
    deletion = {"deletionTimestamp": going} if going else {}
    return rollout | {"metadata": metadata | deletion, "spec": rollout["spec"] | changes}


def test_governor_is_read_from_a_rollout() -> None:
    """Deletion outranks disabling; the position comes from the status."""
    assert gate.governor_of(stored()).standing is Standing.ACTIVE
    assert gate.governor_of(stored(disabled=True)).standing is Standing.DISABLED
    assert gate.governor_of(stored("2", disabled=True)).standing is Standing.DELETING


@pytest.mark.parametrize(
    ("strategy", "why"),
    [
        ({"blueGreen": {"steps": [{"replicas": 1}]}}, "style blueGreen is not supported yet"),
        (
            {
                "canary": {
                    "enableExtraWorkloadForCanary": True,
                    "steps": [{"replicas": 1}],
                    "trafficRoutings": [{"service": "web", "gateway": {"httpRouteName": "web"}}],
                    "disableGenerateCanaryService": True,
                }
            },
            "disableGenerateCanaryService with ingress or gateway is not supported yet",
        ),
        ({}, "Spec.Strategy: Invalid value"),
        ({"canary": {"enableExtraWorkloadForCanary": True, "steps": [{}]}}, "replicas cannot be empty"),
    ],
    ids=["blueGreen", "no canary Service", "no strategy", "unreadable step"],
)
def test_rollout_that_the_reconciler_does_nothing_by_is_inert(strategy: Json, why: str) -> None:
    """Stored by another product, or while nobody checked: gated by it, a Deployment would wait for ever."""
    found = gate.governor_of(stored(strategy=strategy))

    assert found.standing is Standing.INERT
    assert why in found.inert
    assert gate.governor_of(stored(strategy=strategy, disabled=True)).standing is Standing.DISABLED
    assert gate.governor_of(stored("2", strategy=strategy)).standing is Standing.DELETING
