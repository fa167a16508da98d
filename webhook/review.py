"""AdmissionReview v1 on the wire: what is read of a request, and what an answer looks like.

Only what decides is decoded: ``T`` is a struct with the few fields a handler looks at. Everything here
treats the body as hostile; whatever does not decode is ``Malformed``, never an answer.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

import msgspec

from webhook.patch import Operation

T = TypeVar("T")


class Malformed(ValueError):  # noqa: N818 - a fact about the body, as in h11's and msgspec's own naming of values
    """The body is not the review that this path expects; the text says why."""


class User(msgspec.Struct):
    """Who makes the request."""

    username: str = ""
    groups: list[str] = []


class Resource(msgspec.Struct):
    """What kind of object the request is about, as the hook's rule names it."""

    group: str = ""
    version: str = ""
    resource: str = ""


class Request(msgspec.Struct, Generic[T], rename="camel"):
    """One request that asks for admission."""

    uid: str
    resource: Resource
    operation: str
    user_info: User = msgspec.field(default_factory=User)
    namespace: str = ""
    name: str = ""
    sub_resource: str = ""
    dry_run: bool | None = None
    object: T | None = None
    old_object: T | None = None


class Review(msgspec.Struct, Generic[T], rename="camel"):
    """The envelope; only version v1 is spoken."""

    api_version: Literal["admission.k8s.io/v1"]
    kind: Literal["AdmissionReview"]
    request: Request[T]


@dataclass(frozen=True)
class Denial:
    """Why a request is refused; ``code`` and ``reason`` as in metav1.Status."""

    code: int
    reason: str
    message: str


@dataclass(frozen=True)
class Verdict:
    """The answer to one request. ``notes`` go into the API server's audit log; ``event`` into ours."""

    denial: Denial | None = None
    patch: Sequence[Operation] = ()
    warnings: Sequence[str] = ()
    notes: dict[str, str] = field(default_factory=dict)
    outcome: str = "unchanged"
    """One word for the metric and the log: ``unchanged`` is not logged."""


ALLOWED = Verdict()


class _Status(msgspec.Struct, omit_defaults=True):
    code: int
    reason: str
    message: str
    status: str = msgspec.field(default="Failure")


class _Response(msgspec.Struct, omit_defaults=True, rename="camel"):
    uid: str
    allowed: bool
    status: _Status | None = None
    patch_type: str | None = None
    patch: str | None = None
    warnings: list[str] = []
    audit_annotations: dict[str, str] = {}


class _Answer(msgspec.Struct, rename="camel"):
    response: _Response
    api_version: str = "admission.k8s.io/v1"
    kind: str = "AdmissionReview"


_ENCODER = msgspec.json.Encoder()


def read(decoder: "msgspec.json.Decoder[Review[T]]", body: bytes) -> Request[T]:
    """Read a review of any kind of object, or raise Malformed."""
    try:
        return decoder.decode(body).request
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(str(error)) from error
    except RecursionError as error:
        raise Malformed("nested too deeply") from error


def decode(decoder: "msgspec.json.Decoder[Review[T]]", body: bytes, group: str, plural: str) -> Request[T]:
    """Read a review of one kind of object, or raise Malformed."""
    request = read(decoder, body)
    if (request.resource.group, request.resource.resource) != (group, plural):
        found = f"{request.resource.resource}.{request.resource.group}"
        raise Malformed(f"a review of {found}, expected one of {plural}.{group}")
    return request


def encode(uid: str, verdict: Verdict) -> bytes:
    """Write the answer."""
    denial = verdict.denial
    patch = _ENCODER.encode(verdict.patch) if verdict.patch and not denial else None
    response = _Response(
        uid=uid,
        allowed=denial is None,
        status=_Status(denial.code, denial.reason, denial.message) if denial else None,
        patch_type="JSONPatch" if patch else None,
        patch=base64.b64encode(patch).decode() if patch else None,
        warnings=list(verdict.warnings),
        audit_annotations=verdict.notes,
    )
    return _ENCODER.encode(_Answer(response))
