"""What we write into users' own objects stays theirs, as server-side apply sees it."""

from contextlib import suppress

from kube.client import Client
from kube.errors import Conflict
from kube.managed_fields import disowned, owns_spec
from kube.resources import Ref
from kube.wire import JsonObject

# A Gateway's controller answers each change of a route with a write to its status.
_ATTEMPTS = 5


async def leave_to_owner(client: Client, ref: Ref, written: JsonObject) -> JsonObject:
    """Own nothing of an object whose spec we have written, unless it is some controller's.

    The webhook makes such changes in a way that nobody owns. Where it did not, the owner's next apply would
    meet a conflict with us, during a release and ever after. Returns the object as it is then; raises
    KubeError.
    """
    if _controlled(written):
        return written
    for _ in range(_ATTEMPTS):
        if not owns_spec(written, client.field_manager):
            break
        with suppress(Conflict):
            return await client.patch(ref, disowned(written, client.field_manager))
        written = await client.get(ref)
    return written


def _controlled(value: JsonObject) -> bool:
    return any(each.get("controller") for each in value["metadata"].get("ownerReferences") or ())
