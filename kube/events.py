"""Telling people what happened, as Event objects beside the object it happened to.

Decides how an event is named and how much it may cost us. Refuses to know why something is worth telling. An
event is a courtesy: writing one never waits, never fails the work, and never happens twice, because its name
follows from what it says: told again, by us or by a restarted process, it is already there.
"""

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NoReturn, Self

from kube.client import Client
from kube.errors import AlreadyExists, KubeError
from kube.resources import EVENTS
from kube.wire import JsonObject

log = logging.getLogger(__name__)

# The API's own limits (events.k8s.io/v1).
LONGEST_NOTE_BYTES = 1024
LONGEST_REASON = 128
# DNS subdomain, less the dot and the digest that follow.
LONGEST_NAME = 253 - 1 - 16
# A burst of 500 releases has a few events each; beyond that, events are dropped rather than memory filled.
LONGEST_QUEUE = 2000
# Saves a request for what was told lately; the API server forgets events after an hour anyway.
REMEMBERED = 4000


@dataclass(frozen=True, slots=True)
class Regarding:
    """The object that an event is about, in exactly this incarnation."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Self:
        """Refer to an object as read from the API."""
        metadata = obj["metadata"]
        return cls(
            obj["apiVersion"], obj["kind"], metadata.get("namespace", ""), metadata["name"], metadata["uid"]
        )

    def to_json(self) -> JsonObject:
        """As an ObjectReference."""
        reference = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
        }
        return reference | {"namespace": self.namespace} if self.namespace else reference


@dataclass(frozen=True, slots=True)
class Event:
    """One thing to tell; `key` tells apart what reads the same but happened again, say in another release."""

    regarding: Regarding
    type: Literal["Normal", "Warning"]
    reason: str
    action: str
    note: str
    key: str = ""

    @property
    def name(self) -> str:
        """The name that follows from what is told."""
        told = (self.regarding.uid, self.type, self.reason, self.action, self.note, self.key)
        digest = hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]
        return f"{self.regarding.name[:LONGEST_NAME]}.{digest}"


class EventWriter:
    """Writes events one after the other, from a queue."""

    def __init__(
        self,
        client: Client,
        *,
        controller: str,
        instance: str,
        on_failure: Callable[[Event, KubeError | None], None],
    ) -> None:
        """Prepare; `on_failure` hears of what was lost, with None when the queue was full."""
        self._client = client
        self._controller = controller
        self._instance = instance
        self._on_failure = on_failure
        self._queue: asyncio.Queue[Event] = asyncio.Queue(LONGEST_QUEUE)
        self._told: OrderedDict[str, None] = OrderedDict()

    def record(self, event: Event) -> None:
        """Have an event written soon; never waits and never raises."""
        if event.name in self._told:
            return
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self._on_failure(event, None)
        else:
            self._remember(event)

    async def run(self) -> NoReturn:
        """Write what is recorded, for ever; what fails is forgotten, so that telling it again tries again."""
        while True:
            event = await self._queue.get()
            try:
                await self._client.create(EVENTS, self._body(event), namespace=self._namespace(event))
            except AlreadyExists:
                pass
            except KubeError as error:
                self._told.pop(event.name, None)
                self._on_failure(event, error)
            finally:
                self._queue.task_done()

    async def flush(self, seconds: float) -> None:
        """Wait until all that is recorded has been tried (`run` must go on); raises TimeoutError."""
        async with asyncio.timeout(seconds):
            await self._queue.join()

    def _body(self, event: Event) -> JsonObject:
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": event.name, "namespace": self._namespace(event)},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": self._controller,
            "reportingInstance": self._instance[:LONGEST_REASON],
            "regarding": event.regarding.to_json(),
            "type": event.type,
            "reason": event.reason[:LONGEST_REASON],
            "action": event.action[:LONGEST_REASON],
            "note": shortened(event.note),
        }

    @staticmethod
    def _namespace(event: Event) -> str:
        """Events on cluster-scoped objects live in `default`, by the API's convention."""
        return event.regarding.namespace or "default"

    def _remember(self, event: Event) -> None:
        self._told[event.name] = None
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)


def shortened(note: str) -> str:
    """Cut a note to what the API takes, between characters, with a mark that it goes on."""
    encoded = note.encode()
    if len(encoded) <= LONGEST_NOTE_BYTES:
        return note
    mark = "…"
    return encoded[: LONGEST_NOTE_BYTES - len(mark.encode())].decode(errors="ignore") + mark
