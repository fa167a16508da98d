"""Kinds of objects that route and that not every cluster has: HTTPRoutes, and whatever users refer to.

Decides how they are named. Where the API server keeps them, and whether it does, others find out.
"""

from typing import NamedTuple


class RouteKind(NamedTuple):
    """A kind of object at one API version."""

    api_version: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.api_version})"


class RouteRef(NamedTuple):
    """One object of such a kind, in the Rollout's namespace."""

    api_version: str
    kind: str
    name: str

    @property
    def of_kind(self) -> RouteKind:
        """The object's kind."""
        return RouteKind(self.api_version, self.kind)


class Unseen(NamedTuple):
    """Why objects of a kind cannot be seen."""

    why: str
    """What was found and what to do, for people."""
    absent: bool = False
    """Whether the API server knows no such kind: then there is no object of it either."""


HTTP_ROUTE = RouteKind("gateway.networking.k8s.io/v1", "HTTPRoute")
