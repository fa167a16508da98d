"""Tying what we create at run time to what was installed, so that it cannot outlive it.

Decides how a reference is written; refuses to know who owns what.
"""

from kube.client import Client
from kube.errors import NotFound
from kube.resources import Ref
from kube.wire import JsonObject


async def owner_reference(client: Client, owner: Ref) -> JsonObject | None:
    """Give a reference to an owner, which will not wait for what it owns; None when there is no owner."""
    try:
        found = await client.get(owner)
    except NotFound:
        return None
    return {
        "apiVersion": owner.resource.api_version,
        "kind": owner.resource.kind,
        "name": owner.name,
        "uid": found["metadata"]["uid"],
    }
