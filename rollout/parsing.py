"""From a v1beta1 Rollout object to a RolloutSpec, or to every problem that prevents it.

Total: whatever JSON comes in, the answer is a value, never an exception. What is parsed can
still be refused by policy (styles, limits, conflicts): that is ``rollout.validation``'s.
"""

from rollout.problems import Problem
from rollout.spec import RolloutSpec
from rollout.wire import JsonObject


def parse(rollout: JsonObject) -> RolloutSpec | tuple[Problem, ...]:
    """Read what the object asks for; the problems come in the order of the fields."""
    return (Problem("Spec", rollout.get("spec"), "not read yet"),)
