"""The conversion endpoint of the Rollout CRD: ConversionReview v1 in, ConversionReview v1 out.

What converting means is in ``rollout.conversion``. One object that cannot be converted
fails the review, with the reason in its result: the API server knows no partial success.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from rollout.conversion import convert
from rollout.problems import Problem
from rollout.wire import JsonObject
from webhook.review import Malformed


class _Request(msgspec.Struct):
    uid: str
    desired_api_version: str = msgspec.field(name="desiredAPIVersion")
    objects: list[dict[str, Any]]


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
    converted_objects: list[Mapping[str, Any]]


class _Answer(msgspec.Struct, rename="camel"):
    response: _Response
    api_version: str = "apiextensions.k8s.io/v1"
    kind: str = "ConversionReview"


_DECODER = msgspec.json.Decoder(_Review)
_ENCODER = msgspec.json.Encoder()


def answer(body: bytes) -> tuple[bytes, str]:
    """Convert every object of a review; return the answer and one word for its outcome."""
    try:
        request = _DECODER.decode(body).request
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(str(error)) from error
    except RecursionError as error:
        raise Malformed("nested too deeply") from error
    converted = []
    for each in request.objects:
        result = convert(each, request.desired_api_version)
        if isinstance(result, Problem):
            failed = _Response(request.uid, _Result("Failure", _named(each, result)), [])
            return _ENCODER.encode(_Answer(failed)), "failed"
        converted.append(result)
    return _ENCODER.encode(_Answer(_Response(request.uid, _Result("Success"), converted))), "converted"


def _named(value: JsonObject, problem: Problem) -> str:
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"Rollout {name}: {problem}" if name else str(problem)
