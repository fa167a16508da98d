"""The narrower strategy of a Deployment while a release goes on inside it, and its owner's given back.

Only the annotation is written: the webhook changes ``spec.strategy`` in the same write, so that the field
stays its owner's under server-side apply. If it did not, the strategy itself is written here.
"""

from dataclasses import replace

from rollout import names, strategy
from rollout.actions import Patch
from rollout.release import pods
from rollout.release.facts import Facts, guarded
from rollout.release.forecast import Forecast, Outlook
from rollout.release.outcome import DONE, Doing, Outcome
from rollout.snapshot import Deployment
from rollout.strategy import Kept
from rollout.wire import JsonObject


def narrow(facts: Facts, total: int, extra: int = 0, *, whole: bool = False) -> Outcome:
    """Have the Deployment run hardly more pods than its replicas; ``extra`` beside what the plan needs.

    ``total``: the pods that are to be new; ``whole``: all are. Where another strategy would cost pods that
    serve, or the last of a revision, or make more of them new, the one that is in force stays for now.
    """
    workload, declared = facts.workload, declared_by(facts.workload)
    held = _narrowest(facts, total, extra, whole=whole)
    if held is None:
        return DONE
    kept = workload.kept or Kept(declared)
    if (kept.declared, kept.held) != (declared, held):
        wanted = replace(kept, declared=declared).instead_of(workload.strategy, held)
        return _mark(facts, wanted, "what one revision gets, the other gives")
    if workload.strategy != held:
        change = {"spec": {"strategy": strategy.merge(held)}}
        return _write(facts, change, "the webhook did not narrow the strategy")
    return DONE


def _narrowest(facts: Facts, total: int, extra: int, *, whole: bool) -> JsonObject | None:
    """Find the strategy to hold: as wide as the plan's largest batch needs, or as is harmless at present."""
    workload, declared = facts.workload, declared_by(facts.workload)
    most = max(facts.inside.replicas if facts.inside else 0, total) + extra
    for batch in range(max(1, _batch(facts)), 0, -1):
        held = strategy.narrowed(declared, workload.replicas, batch, extra)
        surge, _ = strategy.limits(held, workload.replicas)
        after = Outlook.of(facts).with_surge(surge).after()
        if workload.strategy == held or _harmless(facts, after, most, whole=whole):
            return held
    return None


def _harmless(facts: Facts, after: Forecast, most: int, *, whole: bool) -> bool:
    """Tell whether the controller, at once, neither cuts what serves nor gives an unapproved version more."""
    if after.lost > Outlook.of(facts).spare(facts.least):
        return False
    if whole or facts.inside is None:
        return True
    emptied = any(not after.sizes[each.target.name] for each in facts.serving)
    return not emptied and after.sizes[facts.inside.target.name] <= most


def give_back(facts: Facts) -> Outcome:
    """Give the Deployment its owner's strategy back, when its gate is open."""
    kept = facts.workload.kept
    if kept is None or facts.gated:
        return DONE
    ended: JsonObject = {"metadata": {"annotations": {names.STRATEGY: None}}}
    if not kept.has(facts.workload.strategy):
        return _write(facts, ended, "the strategy is its owner's already")
    if kept.held is not None:
        return _mark(facts, kept.instead_of(facts.workload.strategy), "the release has ended")
    change = {**ended, "spec": {"strategy": strategy.merge(kept.declared)}}
    return _write(facts, change, "the webhook did not give the strategy back")


def declared_by(workload: Deployment) -> JsonObject:
    """Give the strategy that a Deployment's owner wants, whatever is held at present."""
    return strategy.declared(workload.kept, workload.strategy)


def beside(facts: Facts) -> int:
    """Count the pods that the plan needs beside the replicas."""
    workload = facts.workload
    held = strategy.narrowed(declared_by(workload), workload.replicas, _batch(facts))
    return strategy.limits(held, workload.replicas)[0]


def _batch(facts: Facts) -> int:
    """Count the pods of the largest batch of the plan."""
    totals = [pods.wanted(facts, step) for step in facts.spec.steps]
    return max(total - before for before, total in zip([0, *totals], totals, strict=False))


def _mark(facts: Facts, wanted: Kept, why: str) -> Outcome:
    return _write(facts, {"metadata": {"annotations": {names.STRATEGY: wanted.annotation()}}}, why)


def _write(facts: Facts, change: JsonObject, why: str) -> Doing:
    target = facts.workload.target
    patch = Patch(target, guarded(target, change), why=why)
    return Doing(f"changes the strategy of Deployment {target.name}", (patch,))
