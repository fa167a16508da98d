"""One safety rule at a time: every drill runs through, and none does without the rule it is made for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rollout import manifests
from rollout.actions import Create
from rollout.release import (
    advancing,
    closing,
    cursor,
    facts,
    forecast,
    handover,
    holding,
    moving,
    parts,
    pods,
    routes,
    services,
    stages,
    strategy,
)
from rollout.release import plan as planning
from rollout.release.outcome import DONE, Doing
from rollout.release.routes import ingress
from rollout.release.routes.ingress import IngressRoute
from rollout.traffic.routing import Routing
from tests.unit.rollout.model import drills, drills_inside
from tests.unit.rollout.model.invariants import InvariantBroken

Change = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize("drill", [*drills.DRILLS, *drills_inside.DRILLS], ids=lambda each: each.__name__)
def test_engine_stands_the_drill(drill: Callable[[], None]) -> None:
    """No invariant breaks on the course of events of this drill."""
    drill()


# --- the engine with one rule taken out --------------------------------------------------------------


def done(*_: Any, **__: Any) -> None:
    """Stand for a task that has nothing to do."""
    return DONE


def without(module: Any, name: str, instead: Any = done) -> Change:
    """Take a rule out of the engine for one test."""
    return lambda patch: patch.setattr(module, name, instead)


def _undrained(snapshot: Any, canary: Any, *, drained: bool) -> Any:
    del drained
    return _remove(snapshot, canary, drained=False)


def _created_with_pods(*args: Any) -> Any:
    made = _canary_deployment(*args)
    return {**made, "spec": {**made["spec"], "replicas": 2}}


def _created_with_weight(route: Any) -> Any:
    manifest = route._render(Routing(weight=20))  # noqa: SLF001 - likewise
    return Doing("creates", (Create(manifest, why="carry the canary's share"),))


def _wide_first(given: Any, *, wait: bool) -> Any:
    return tuple(sorted(_taking_back(given, wait=wait), key=lambda task: task[0] != "RestoreStableService"))


def _canary_gone_first(given: Any, *, wait: bool) -> Any:
    return tuple(reversed(_letting_out(given, wait=wait)))


def _given_unseen(patch: pytest.MonkeyPatch) -> None:
    def given_at_once(given: Any, canary: Any) -> Any:
        return DONE if canary.deleting else _given(given, canary)

    patch.setattr(handover, "_given", given_at_once)
    patch.setattr(facts.Facts, "unadopted", property(lambda _: ()))


def _unguarded(patch: pytest.MonkeyPatch) -> None:
    for module in (holding, planning, pods, ingress, services):
        patch.setattr(module, "guarded", lambda _, change: change)


_remove, _canary_deployment = pods.remove, manifests.canary_deployment
_taking_back = closing._taking_back  # noqa: SLF001 - likewise
_given = handover._given  # noqa: SLF001 - likewise
_letting_out = closing._letting_out  # noqa: SLF001 - likewise

_part = forecast._part  # noqa: SLF001 - likewise


def _counted_when_ready(revision: Any, *, newest: bool) -> Any:
    return replace(_part(revision, newest=newest), available=revision.ready)


RULES: dict[str, tuple[Change, Callable[[], None]]] = {
    "a canary without endpoints gets no traffic": (
        without(stages, "silence_empty"),
        drills.canary_loses_its_pods,
    ),
    "endpoints are waited for": (
        without(facts.Facts, "ready_behind", lambda *_: 1000),
        drills.endpoints_lag_behind,
    ),
    "the data plane gets its grace": (without(routes, "grace"), drills.rolls_back),
    "a route is silenced before it is removed": (without(routes, "silence"), drills.completes),
    "a canary is drained before it goes": (without(pods, "remove", _undrained), drills.rolls_back_slowly),
    "every write is guarded": (_unguarded, drills.completes),
    "the stable Service is pinned first": (without(services, "pin"), drills.completes),
    "canary pods are waited for": (without(pods, "available"), drills.pods_without_traffic),
    "a step waits for its own approval": (
        without(advancing, "_approved", lambda _: True),
        drills.waits_for_its_own_approval,
    ),
    "a pause without length has no end": (
        without(cursor, "_pause_ended", lambda *_: True),
        drills.waits_for_its_own_approval,
    ),
    "a hand-edited weight is brought down": (without(routes, "restrict"), drills.weight_raised_by_hand),
    "a torn gate is closed again": (without(holding, "hold"), drills.gate_torn_open),
    "a rolling Deployment is settled first": (
        without(holding, "settle"),
        drills.change_in_the_middle_of_a_roll,
    ),
    "settling keeps to the limits": (
        without(forecast.Outlook, "spare", lambda *_: 99),
        drills.change_in_the_middle_of_a_roll,
    ),
    "the stable Service is widened again": (without(closing, "_widen"), drills.completes),
    "the stable Service is widened after the canary": (
        without(closing, "_taking_back", _wide_first),
        drills.rolls_back,
    ),
    "the canary goes after its route": (
        without(closing, "_letting_out", _canary_gone_first),
        drills.completes,
    ),
    "pods go down after the weights are noticed": (
        without(stages, "_shrunk", pods.shrink),
        drills.jumps_back,
    ),
    "a stable template that returns is a roll-back": (
        without(facts.Facts, "returning", property(lambda _: False)),
        drills.rolls_back,
    ),
    "an old canary goes before the new one comes": (without(closing, "clear_old"), drills.third_template),
    "a canary is created without pods": (
        without(manifests, "canary_deployment", _created_with_pods),
        drills.late_creations,
    ),
    "a route is created without weight": (
        without(IngressRoute, "begin", _created_with_weight),
        drills.late_creations,
    ),
    "leftovers are cleared at rest": (without(closing, "leftovers", lambda _: False), drills.late_creations),
    "a finished release does not begin again": (
        without(planning, "_opened", advancing.start),
        drills.view_of_a_finished_release,
    ),
    "a missing workload is cleaned up after": (without(closing, "clear"), drills.workload_deleted),
    "a canary Service goes after its route": (without(routes, "remove"), drills.workload_deleted),
    "a canary Service is removed": (without(services, "remove_canaries"), drills.completes),
    "the gate opens at the end": (without(holding, "open_gate"), drills.completes),
    "the native rolling update is waited for": (
        without(holding, "rolled_out"),
        drills.third_template_while_promoting,
    ),
    "approved pods are handed over": (without(handover, "hand_over"), drills.approved_pods_survive),
    "what is left behind is seen to be let go": (_given_unseen, drills.adopted_slowly),
    "the gate opens when the Deployment was cut": (
        without(holding, "_at_rest"),
        drills.rolled_back_while_pods_change_hands,
    ),
    "what scaling is reckoned from is written first": (
        without(handover, "_reckoned"),
        drills.approved_pods_survive,
    ),
    "an old ReplicaSet of the same template is forgotten": (
        without(handover, "forget_empty"),
        drills.a_version_that_ran_before,
    ),
    "it is forgotten while a release is blocked": (
        without(handover, "forget_empty"),
        drills.blocked_and_scaled_to_nothing,
    ),
    "no more pods are handed over than fit": (
        without(handover, "_size", lambda _facts, canary, _approved: canary.replicas),
        drills.more_pods_than_fit,
    ),
    "pods of another template are not handed over": (
        without(handover, "_impossible", lambda *_: False),
        drills.patched_pods_are_not_handed_over,
    ),
    "what nobody will adopt is cleared away": (
        without(handover, "clear"),
        drills.workload_deleted_before_adoption,
    ),
    "an edited plan takes a release nowhere": (
        without(advancing._Standing, "reaches", lambda *_: True),  # noqa: SLF001 - the rule itself
        drills.plan_shortened,
    ),
    "a canary shrinks": (without(pods, "shrink"), drills.jumps_back),
    "pods move as far as may be missing": (
        without(forecast.Outlook, "spare", lambda *_: 99),
        drills_inside.batches,
    ),
    "what is available counts, not what is ready": (
        without(forecast, "_part", _counted_when_ready),
        drills_inside.batches,
    ),
    "a push leads where it shall": (
        without(moving._Way, "_leads", lambda *_: True),  # noqa: SLF001 - the rule itself
        drills_inside.batches_with_a_surge,
    ),
    "the strategy is narrowed": (without(strategy, "narrow"), drills_inside.no_more_pods),
    "a wider strategy gives a new version nothing": (
        without(strategy, "_harmless", lambda *_, **__: True),
        drills_inside.scaled_down,
    ),
    "no Service finds what is taken back": (without(holding, "rolled_back"), drills_inside.taken_back),
    "what was replaced goes first": (without(parts, "settle"), drills_inside.third_version),
}


@pytest.mark.parametrize("rule", RULES)
def test_drill_breaks_without_its_rule(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking any one safety rule out of the engine breaks an invariant in the drill made for it."""
    change, drill = RULES[rule]
    change(monkeypatch)

    with pytest.raises(InvariantBroken):
        drill()
