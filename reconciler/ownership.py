"""What we write into users' own objects stays theirs, as server-side apply sees it."""

from kube.client import Client
from kube.errors import Conflict
from kube.managed_fields import disowned, owns_spec
from kube.resources import Ref
from kube.wire import JsonObject


async def leave_to_owner(client: Client, ref: Ref, written: JsonObject) -> JsonObject:
    """Own nothing of an object whose spec we have written, unless it is some controller's.

    The webhook makes such changes in a way that nobody owns. Where it did not, the owner's next apply would
    meet a conflict with us, during a release and ever after. Returns the object as it is then; raises
    KubeError.
    """
    if _controlled(written) or not owns_spec(written, client.field_manager):
        return written
    try:
        return await client.patch(ref, disowned(written, client.field_manager))
    except Conflict:  # written once more in these milliseconds, which counts for more than whose it is
        return written


def _controlled(value: JsonObject) -> bool:
    return any(each.get("controller") for each in value["metadata"].get("ownerReferences") or ())
