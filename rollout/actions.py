"""The writes that a plan may ask for: plain values, executed elsewhere.

Each names what it acts on and carries the identity under which the object was observed
(uid and resourceVersion), so that a plan made from a stale view fails at the API server
instead of doing harm.
"""

from dataclasses import dataclass
from enum import Enum

from rollout.wire import JsonObject


@dataclass(frozen=True)
class Target:
    """One observed object: the write happens only while it is still this one, unchanged."""

    kind: str
    name: str
    uid: str
    resource_version: str
    api_version: str = ""
    """Only of kinds that not every cluster has (see ``rollout.route_kinds``)."""


@dataclass(frozen=True)
class Create:
    """Create an object in the Rollout's namespace; its name is deterministic, so twice is once."""

    manifest: JsonObject
    why: str

    @property
    def kind(self) -> str:
        """The manifest's kind."""
        return str(self.manifest["kind"])

    @property
    def name(self) -> str:
        """The manifest's name."""
        return str(self.manifest["metadata"]["name"])


@dataclass(frozen=True)
class Patch:
    """Apply a JSON merge patch (RFC 7386)."""

    target: Target
    merge: JsonObject
    why: str


class Propagation(Enum):
    """What happens to the objects that a deleted one owns."""

    BACKGROUND = "Background"
    ORPHAN = "Orphan"


@dataclass(frozen=True)
class Delete:
    """Delete an object."""

    target: Target
    why: str
    propagation: Propagation = Propagation.BACKGROUND


Action = Create | Patch | Delete


@dataclass(frozen=True)
class Event:
    """One line for ``kubectl describe rollout``.

    ``key`` identifies the occurrence (release, step, reason): emitting it again changes nothing.
    """

    reason: str
    note: str
    key: str
    warning: bool = False
