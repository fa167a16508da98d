"""What only v1alpha1 asks of a Rollout, in the words of v1alpha1.

All else is judged on the converted object. An object refused here is not looked at further, so
that nobody is told about a v1beta1 field that they never wrote.
"""

from itertools import pairwise

from rollout import names
from rollout.fields import Field, percentage, whole
from rollout.problems import Problem
from rollout.wire import JsonObject

_ALL = 100  # percent
_STYLES = ("", "canary", "partition")
_WEIGHT = "weight must be positive number, and less than or equal to 100"
_REPLICAS_LIMIT = (
    "For patition style rollout: step[x].replicas must not greater than replicasLimitWithTraffic "
    "if traffic or matches specified"
)
_WEIGHT_LIMIT = (
    "For patition style rollout: step[x].weight must not greater than replicasLimitWithTraffic "
    "if replicas is not specified"
)


def alpha_problems(rollout: JsonObject, limit: int | None) -> tuple[Problem, ...]:
    """Judge a v1alpha1 object; ``limit`` is the most percent of pods in a partition step with traffic."""
    problems: list[Problem] = []
    annotations = Field("Metadata", rollout.get("metadata"), problems).child("annotations")
    annotation = annotations.child(names.ROLLING_STYLE).value
    style = annotation.lower() if isinstance(annotation, str) else ""
    if style not in _STYLES:
        problems.append(
            Problem("RollingStyle", annotation, "Rolling style must be 'Canary', 'Partition' or empty")
        )
    strategy = Field("Spec", rollout.get("spec"), problems).child("strategy")
    _judge_canary(strategy, limit if style == "partition" else None)
    return tuple(problems)


def _judge_canary(strategy: Field, limit: int | None) -> None:
    canary = strategy.child("canary")
    if canary.is_absent:
        canary.refuse("Canary cannot be empty")
        return
    steps = tuple(canary.child("steps").items())
    for step in steps:
        _judge_step(step, limit)
    weights = [whole(step.child("weight").value) for step in steps]
    if canary.child("trafficRoutings").value and any(
        one is not None and other is not None and other < one for one, other in pairwise(weights)
    ):
        weight = Field(f"{canary.path}.Steps.Weight", weights, canary.problems)
        weight.refuse("Steps.Weight must be a non decreasing sequence")


def _judge_step(step: Field, limit: int | None) -> None:
    weight, replicas = step.child("weight"), step.child("replicas")
    if weight.is_absent and replicas.is_absent:
        step.same_place("steps").refuse("weight and replicas cannot be empty at the same time")
        return
    percent = whole(weight.value)
    # with replicas, a weight of 0 is how this version says "pods, but no traffic"
    least = 1 if replicas.is_absent else 0
    if not weight.is_absent and (percent is None or not least <= percent <= _ALL):
        weight.refuse(_WEIGHT)
    elif limit is not None:
        _judge_partition_step(step, limit)


def _judge_partition_step(step: Field, limit: int) -> None:
    weight, replicas = step.child("weight"), step.child("replicas")
    if replicas.is_absent and (whole(weight.value) or 0) > limit:
        step.same_place("steps").refuse(_WEIGHT_LIMIT)
    routes_traffic = not (weight.is_absent and step.child("matches").is_absent)
    if routes_traffic and (percentage(replicas.value) or 0) > limit:
        step.same_place("steps").refuse(_REPLICAS_LIMIT)
