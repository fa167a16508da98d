"""Finding out where, and whether, the API server keeps a kind that we know only by name.

Decides nothing about what a missing kind means; that it is missing is an answer here, not an error.
"""

from dataclasses import dataclass
from urllib.parse import quote

from kube.client import Client
from kube.errors import NotFound
from kube.resources import Resource
from kube.wire import JsonObject


@dataclass(frozen=True, slots=True)
class NotServed:
    """The API server does not know the kind at this version; `versions` are those at which it does."""

    versions: tuple[str, ...] = ()


async def discover(client: Client, api_version: str, kind: str) -> Resource | NotServed:
    """Ask where objects of a kind are kept; raises KubeError when there is no telling."""
    group, _, version = api_version.rpartition("/")
    found = await _find(client, group, version, kind)
    if found is not None or not group:
        return found or NotServed()
    others = [each for each in await _versions(client, group) if each != version]
    return NotServed(tuple([each for each in others if await _find(client, group, each, kind)]))


async def _find(client: Client, group: str, version: str, kind: str) -> Resource | None:
    path = f"/apis/{_segment(group)}/{_segment(version)}" if group else f"/api/{_segment(version)}"
    served = await _read(client, path)
    for each in served.get("resources") or ():
        if each.get("kind") == kind and "/" not in each.get("name", "/"):
            return Resource(group, version, each["name"], kind, namespaced=bool(each.get("namespaced")))
    return None


async def _versions(client: Client, group: str) -> list[str]:
    served = await _read(client, f"/apis/{_segment(group)}")
    return [each["version"] for each in served.get("versions") or ()]


async def _read(client: Client, path: str) -> JsonObject:
    try:
        return await client.raw("GET", path)
    except NotFound:
        return {}


def _segment(text: str) -> str:
    """Quote what a user wrote: neither empty nor dots may lead to another path."""
    return quote(text, safe="") if text.strip(".") else "%20"
