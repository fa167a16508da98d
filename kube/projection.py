"""Keeping only what is needed of an object, which decides the memory of a large cluster.

A pod of 5 kB JSON is 17 kB as whole Python objects; most of it is never looked at. A projection names what is
kept; the shape stays that of the API, so whoever reads it need not know. Short strings are shared between
objects, as labels, reasons and phases repeat by the thousand.

    decode=keep(PODS, {"metadata": IDENTITY, "status": {"phase": None, "conditions": {"type": None, "status":
    None}}})
"""

from collections.abc import Callable, Mapping
from sys import intern
from typing import Any, TypeAlias

import msgspec

from kube.resources import Resource
from kube.wire import JsonObject

Tree: TypeAlias = Mapping[str, "Tree | None"]
"""Which fields are kept; None keeps all below. In a list, the tree holds for each item."""

IDENTITY: Tree = {
    "name": None,
    "namespace": None,
    "uid": None,
    "resourceVersion": None,
    "generation": None,
    "labels": None,
    "annotations": None,
    "ownerReferences": None,
    "finalizers": None,
    "creationTimestamp": None,
    "deletionTimestamp": None,
}
"""All of metadata but `managedFields` and what a created object has no more use for."""

# Longer strings are messages, images with digests, annotations' JSON: they seldom repeat.
_LONGEST_SHARED = 64


def keep(resource: Resource, tree: Tree) -> Callable[[bytes], JsonObject]:
    """Give a `Cache`'s decode function that keeps what `tree` names, with apiVersion and kind."""
    kind = {"apiVersion": resource.api_version, "kind": resource.kind}

    def decode(raw: bytes) -> JsonObject:
        whole: JsonObject = msgspec.json.decode(raw, type=JsonObject)
        return _fields(whole, tree) | kind

    return decode


def _fields(found: Mapping[str, Any], tree: Tree) -> JsonObject:
    return {name: _kept(found[name], below) for name, below in tree.items() if name in found}


def _kept(value: Any, tree: Tree | None) -> Any:
    match value:
        case dict() if tree is not None:
            return _fields(value, tree)
        case dict():
            return {name: _kept(below, None) for name, below in value.items()}
        case list():
            return [_kept(item, tree) for item in value]
        case str() if len(value) <= _LONGEST_SHARED:
            return intern(value)
        case _:
            return value
