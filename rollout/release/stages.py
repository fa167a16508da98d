"""The work of one step, in its stages: everything made ready, pods brought, requests sent to them.

Nothing to a canary without endpoints; then weights down, and after them pods down; the stable side held
fast; then pods up, endpoints, and weights up. Each task waits for the one before; all are looked at anew on
every pass.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from rollout.release import closing, engagement, handover, holding, parts, pods, routes, services, strategy
from rollout.release.facts import Facts
from rollout.release.outcome import DONE, Outcome, Task, first_unfinished, resting_on, together
from rollout.spec import Step, TrafficRoutingRef
from rollout.status import StepState
from rollout.traffic.routing import ALL_STABLE, Routing


@dataclass(frozen=True)
class Stage:
    """Tasks of a step, and the state that the status shows while they are not done."""

    state: StepState
    tasks: tuple[Task, ...]


def unfinished(facts: Facts, step: Step) -> tuple[StepState, Outcome]:
    """Find the first unfinished task of a step, and its stage; with none, the step waits to be left."""
    for stage in stages(facts, step):
        if (outcome := first_unfinished(stage.tasks)) is not DONE:
            return stage.state, outcome
    return StepState.STEP_PAUSED, DONE


def stages(facts: Facts, step: Step, *, still: bool = False) -> tuple[Stage, Stage, Stage]:
    """Give the work of a step; ``still``: no stable pod is replaced that is not replaced yet."""
    work = _Work(facts, step, still)
    return (
        Stage(StepState.BEFORE_STEP_UPGRADE, work.preparing()),
        Stage(StepState.STEP_UPGRADE, work.upgrading()),
        Stage(StepState.STEP_TRAFFIC_ROUTING, work.routing()),
    )


def silence_empty(facts: Facts) -> Outcome:
    """Take all traffic from a canary of which no pod is ready."""
    return together(
        routes.silence(facts, ref)
        for ref in facts.spec.routings
        if routes.reaches_canary(facts, ref) and not services.canary_ready(facts, ref)
    )


def find_pods(facts: Facts) -> Outcome:
    """Let requests find a pod: a rule that waits for nothing, whatever else a release waits for.

    None goes to a canary without ready pods, and no Service is held to a revision that has none left.
    """
    return (closing.unite(facts) if facts.stranded else DONE) or together(
        (services.move_on(facts) if facts.lost else DONE, silence_empty(facts))
    )


_OnRouting = Callable[[TrafficRoutingRef], Outcome]


@dataclass(frozen=True)
class _Work:
    """What a step asks for, and how it is brought about."""

    facts: Facts
    step: Step
    still: bool

    @cached_property
    def total(self) -> int:
        """The pods that are to be of the new version."""
        total, inside = pods.wanted(self.facts, self.step), self.facts.inside
        return min(total, inside.replicas) if self.still and inside else total

    @property
    def need(self) -> int:
        """The pods of them that must be available."""
        return pods.needed(self.facts, self.total)

    @property
    def requests(self) -> Routing:
        """The requests that go to them: none for a workload that is scaled to zero."""
        return routes.wanted(self.step) if self.need else ALL_STABLE

    @cached_property
    def whole(self) -> bool:
        """Whether no stable pod is left beside them: the users' own routes and Services find them then."""
        return self.facts.parts and parts.takes_all(self.facts, self.total)

    def preparing(self) -> tuple[Task, ...]:
        """Protect what serves, and let go what is too much, before any pod comes."""
        facts = self.facts
        return (
            lambda: holding.hold(facts),
            lambda: find_pods(facts),
            lambda: closing.clear_old(facts),
            # However long a release is blocked or paused: scaled to zero and up, this one would be woken.
            lambda: handover.forget_empty(facts),
            lambda: engagement.engage(facts),
            lambda: pods.suitable(facts),
            self._each_service(lambda ref: services.suitable(facts, ref)),
            self._each(lambda ref: routes.suitable(facts, ref)),
            lambda: _settled(facts),
            *((lambda: closing.unite(facts),) if self.whole else ()),
            *((self._narrowed,) if facts.parts else ()),
            *(() if self.whole else self._dividing()),
        )

    def upgrading(self) -> tuple[Task, ...]:
        """Bring the pods."""
        facts = self.facts
        return (
            lambda: (
                parts.grow(facts, self.total, still=self.still)
                if facts.parts
                else pods.grow(facts, self.total)
            ),
            lambda: pods.available(facts, self.need),
        )

    def routing(self) -> tuple[Task, ...]:
        """Send requests to them."""
        facts = self.facts
        if self.whole:
            return ()
        return (
            lambda: closing.silence_moving(facts),
            self._each_service(lambda ref: services.provide_canary(facts, ref, self.need)),
            self._each(lambda ref: routes.route(facts, ref, self.requests)),
        )

    def _dividing(self) -> tuple[Task, ...]:
        facts = self.facts
        return (
            self._each(lambda ref: routes.restrict(facts, ref, self.requests)),
            lambda: _shrunk(facts, self.total),
            self._each_service(lambda ref: services.pin(facts, ref)),
        )

    def _narrowed(self) -> Outcome:
        extra = parts.room(self.facts, self.total)
        return strategy.narrow(self.facts, self.total, extra, whole=self.whole)

    def _each(self, work: _OnRouting) -> Task:
        return _joined(self.facts.spec.routings, work)

    def _each_service(self, work: _OnRouting) -> Task:
        return _joined({ref.service: ref for ref in self.facts.spec.routings}.values(), work)


def _joined(refs: Iterable[TrafficRoutingRef], work: _OnRouting) -> Task:
    """Make one task of the same work on every traffic routing."""
    return lambda: together(work(ref) for ref in refs)


def _settled(facts: Facts) -> Outcome:
    """Leave only one revision beside that of the release; no request is on its way to those that go."""
    if not facts.parts:
        return holding.settle(facts)
    if not facts.unsettled:
        return parts.rid_of_others(facts)
    quiet = closing.silence(facts) or routes.unseen(facts.snapshot)
    return quiet or resting_on(routes.observed(facts), parts.settle(facts))


def _shrunk(facts: Facts, total: int) -> Outcome:
    """Let pods go that are too many, when the data plane had its time to notice that less is sent to them."""
    shrink = parts.shrink if facts.parts else pods.shrink
    shrinking = resting_on(routes.observed(facts), shrink(facts, total))
    if shrinking is DONE:
        return DONE
    return together(routes.grace(facts, ref) for ref in facts.spec.routings) or shrinking
