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

    @staticmethod
    def absent(kind: str, name: str, api_version: str = "") -> "Target":
        """Name an object of which none was observed: it has neither uid nor resourceVersion."""
        return Target(kind, name, "", "", api_version)


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


@dataclass(frozen=True)
class Confirm:
    """Read objects from the API server itself; the actions that follow wait until each is as it was observed.

    For writes that rest on what other objects say, or on there being none: a guard on the object that is
    written knows nothing of these, and the cache that showed them may have stalled.
    """

    targets: tuple[Target, ...]


Write = Create | Patch | Delete
Action = Confirm | Write


@dataclass(frozen=True)
class Event:
    """One line for ``kubectl describe rollout``.

    ``key`` identifies the occurrence (release, step, reason): emitting it again changes nothing.
    """

    reason: str
    note: str
    key: str
    warning: bool = False
