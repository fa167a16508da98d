"""The conversion endpoint of the Rollout CRD: ConversionReview v1 in, ConversionReview v1 out.

What converting means is in ``rollout.conversion``. One object that cannot be converted
fails the review, with the reason in its result: the API server knows no partial success.

A review brings as many objects as a list has, and admission must not wait for them: objects are read,
converted and written one at a time, and between two of them everybody else has a turn.
"""

import asyncio
from typing import Literal

import msgspec

from rollout.conversion import convert
from rollout.problems import Problem
from webhook.review import Malformed

MAX_BODY_BYTES = 16 * 1024 * 1024
"""A list of a few thousand Rollouts comes in one review."""
MOST_AT_ONCE = 2
"""Reviews that are converted at a time; all others wait their turn."""
_MAX_OBJECT_BYTES = 2 * 1024 * 1024  # etcd stores 1.5 MiB; each turn of the loop takes one object


class _Request(msgspec.Struct):
    uid: str
    desired_api_version: str = msgspec.field(name="desiredAPIVersion")
    objects: list[msgspec.Raw]


class _Review(msgspec.Struct, rename="camel"):
    api_version: Literal["apiextensions.k8s.io/v1"]
    kind: Literal["ConversionReview"]
    request: _Request


class _Result(msgspec.Struct):
    status: str
    message: str = ""


class _Response(msgspec.Struct, rename="camel"):
    uid: str
    result: _Result
    converted_objects: list[msgspec.Raw]


class _Answer(msgspec.Struct, rename="camel"):
    response: _Response
    api_version: str = "apiextensions.k8s.io/v1"
    kind: str = "ConversionReview"


_DECODER = msgspec.json.Decoder(_Review)
_ENCODER = msgspec.json.Encoder()


async def answer(body: bytes) -> tuple[bytes, str]:
    """Convert every object of a review; return the answer and one word for its outcome."""
    request = _decoded(body)
    converted = []
    for each in request.objects:
        result = _converted(each, request.desired_api_version)
        if isinstance(result, str):
            failed = _Response(request.uid, _Result("Failure", result), [])
            return _ENCODER.encode(_Answer(failed)), "failed"
        converted.append(result)
        await asyncio.sleep(0)
    return _ENCODER.encode(_Answer(_Response(request.uid, _Result("Success"), converted))), "converted"


def _decoded(body: bytes) -> _Request:
    try:
        return _DECODER.decode(body).request
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(str(error)) from error
    except RecursionError as error:
        raise Malformed("nested too deeply") from error


def _converted(raw: msgspec.Raw, version: str) -> msgspec.Raw | str:
    """Convert one object, or say why not."""
    if len(raw) > _MAX_OBJECT_BYTES:
        return f"an object of {len(raw)} bytes is larger than any that an API server stores"
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(str(error)) from error
    except RecursionError as error:
        raise Malformed("nested too deeply") from error
    result = convert(value, version)
    if isinstance(result, Problem):
        return _named(value, result)
    return msgspec.Raw(_ENCODER.encode(result))


def _named(value: object, problem: Problem) -> str:
    metadata = value.get("metadata") if isinstance(value, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"Rollout {name}: {problem}" if name else str(problem)
