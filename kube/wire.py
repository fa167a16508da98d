"""The few objects whose shape this package itself needs, as typed structs.

Decides which fields are read. Unknown fields are ignored and absent ones have the API's defaults, so that a
newer cluster cannot break decoding. Everything else travels as plain JSON objects (`JsonObject`), never
changed by us: a write names the fields it means.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

JsonObject = dict[str, Any]


class Key(NamedTuple):
    """Where an object of a known kind is; `namespace` is empty for what is cluster-scoped."""

    namespace: str
    name: str


class StatusCause(msgspec.Struct, frozen=True, rename="camel"):
    """One single cause of a refusal: which field, and why."""

    reason: str | None = None
    message: str | None = None
    field: str | None = None


class StatusDetails(msgspec.Struct, frozen=True, rename="camel"):
    """What a failed request was about."""

    name: str | None = None
    group: str | None = None
    kind: str | None = None
    uid: str | None = None
    causes: tuple[StatusCause, ...] = ()
    retry_after_seconds: int | None = None


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """The API's answer when there is no object to answer with."""

    status: str | None = None
    message: str | None = None
    reason: str | None = None
    details: StatusDetails | None = None
    code: int | None = None


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """What makes an object this object, in this version."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""

    @property
    def key(self) -> Key:
        """Where the object is."""
        return Key(self.namespace, self.name)


class Envelope(msgspec.Struct, frozen=True):
    """Any object, read only as far as its identity."""

    metadata: Metadata


class ListMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """The moment a list shows, and where its next page begins."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class RawList(msgspec.Struct, frozen=True):
    """One page of a list, its objects not yet decoded."""

    metadata: ListMetadata
    items: tuple[msgspec.Raw, ...] | None = None


class WatchEvent(msgspec.Struct, frozen=True):
    """One line of a watch, its object not yet decoded."""

    type: str
    object: msgspec.Raw


def without_managed_fields(raw: bytes) -> JsonObject:
    """Decode an object, leaving out the book-keeping of field ownership (often half of its size)."""
    decoded: JsonObject = msgspec.json.decode(raw, type=JsonObject)
    metadata = decoded.get("metadata")
    if isinstance(metadata, dict):
        metadata.pop("managedFields", None)
    return decoded


def encode(body: Mapping[str, Any] | list[Any]) -> bytes:
    """Write a request body."""
    return msgspec.json.encode(body)
