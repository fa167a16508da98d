"""What one task of a release came to: done, or still doing something.

A release is an ordered list of tasks; each looks at the snapshot only. The first that is not
done decides: its actions are executed, and what it waits for is shown.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from rollout.actions import Action, Confirm, Event, Target


@dataclass(frozen=True)
class Doing:
    """Not done yet: writes to make now (perhaps none), and what the release waits for."""

    waits_for: str
    actions: tuple[Action, ...] = ()
    until: datetime | None = None
    """When looking again makes sense although nothing in the cluster changes."""
    blocked: bool = False
    """True when only a person can mend it, or asked to be told: the text belongs where they look first."""
    trouble: str | None = None
    """What makes the wait likely to be a long one, in the words of whoever reported it."""
    events: tuple[Event, ...] = ()
    """What people are told beside the status."""


DONE = None
Outcome = Doing | None
Task = Callable[[], Outcome]


def first_unfinished(tasks: Iterable[Task]) -> Outcome:
    """Run tasks in order and stop at the first that is not done."""
    for task in tasks:
        if (outcome := task()) is not DONE:
            return outcome
    return DONE


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Join tasks that do not depend on each other: all their actions, the first one's reason.

    Two traffic routings may stand for one object; what both ask for is done once.
    """
    doing = [each for each in outcomes if each is not None]
    if not doing:
        return DONE
    untils = [each.until for each in doing if each.until]
    leading = next((each for each in doing if each.blocked), doing[0])
    actions = [action for each in doing for action in each.actions]
    once = tuple(action for index, action in enumerate(actions) if action not in actions[:index])
    return Doing(
        waits_for=leading.waits_for,
        actions=once,
        until=min(untils) if untils else None,
        blocked=leading.blocked,
        trouble=leading.trouble,
        events=tuple(event for each in doing for event in each.events),
    )


def resting_on(observed: Iterable[Target | None], outcome: Outcome) -> Outcome:
    """Have writes wait until the API server itself shows what they rest on as it was observed."""
    targets = tuple(dict.fromkeys(each for each in observed if each))
    if outcome is DONE or not outcome.actions or not targets:
        return outcome
    return replace(outcome, actions=(Confirm(targets), *outcome.actions))
