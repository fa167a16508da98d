"""Admission of a TrafficRouting: what it asks for is checked, as a Rollout's own trafficRoutings are.

Pure. What a valid one is, ``rollout.validation_shared`` knows.
"""

from typing import Any, Required, TypedDict

from rollout import warnings
from rollout.validation_shared import routing_doubts, validate_routing
from webhook.review import ALLOWED, Denial, Request, Verdict

PLURAL = "trafficroutings"


class Metadata(TypedDict, total=False):
    """The part of a TrafficRouting's metadata that decides something."""

    name: str
    deletionTimestamp: str | None
    finalizers: list[str] | None


class Object(TypedDict, total=False):
    """A TrafficRouting as one side of a write."""

    metadata: Required[Metadata]
    spec: dict[str, Any] | None


def validate(request: Request[Object]) -> Verdict:
    """Judge a write of a TrafficRouting."""
    old, new = request.old_object, request.object
    if new is None or request.operation not in {"CREATE", "UPDATE"} or request.sub_resource:
        return ALLOWED
    if new["metadata"].get("deletionTimestamp"):
        return ALLOWED  # what is on its way out is not held up by what it asks for
    if problems := validate_routing(old, new):
        return Verdict(denial=Denial(422, "Invalid", warnings.problems(problems)), outcome="denied")
    return Verdict(warnings=tuple(routing_doubts(old, new)))
