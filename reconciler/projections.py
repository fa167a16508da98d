"""What the caches keep of objects that come by the thousand."""

from kube.projection import Tree, keep
from kube.resources import REPLICA_SETS
from kube.wire import JsonObject
from rollout import names
from rollout.observation import digested

_CONDITIONS: Tree = {"type": None, "status": None, "reason": None, "message": None}
_IDENTITY: Tree = {
    "name": None,
    "namespace": None,
    "uid": None,
    "resourceVersion": None,
    "labels": None,
    "ownerReferences": None,
}
_REPLICA_SET: Tree = {
    "metadata": {
        **_IDENTITY,
        "generation": None,
        "creationTimestamp": None,
        "annotations": {names.DESIRED_REPLICAS: None, names.MAX_REPLICAS: None},
    },
    "spec": {"replicas": None, "template": None},
    "status": {
        "observedGeneration": None,
        "replicas": None,
        "readyReplicas": None,
        "availableReplicas": None,
        "conditions": _CONDITIONS,
    },
}


def revision(raw: bytes) -> JsonObject:
    """Read a ReplicaSet, with a digest in the place of its template."""
    return digested(_keep_revision(raw))


_keep_revision = keep(REPLICA_SETS, _REPLICA_SET)
_CONTAINER: Tree = {"state": {"waiting": {"reason": None, "message": None}, "running": {"startedAt": None}}}
POD: Tree = {
    "metadata": {
        "name": None,
        "namespace": None,
        "uid": None,
        "resourceVersion": None,
        "deletionTimestamp": None,
        "labels": {names.ROLLOUT_ID: None, names.ROLLOUT_BATCH_ID: None},
        "ownerReferences": {"kind": None, "name": None, "uid": None, "controller": None},
    },
    "status": {
        "phase": None,
        "conditions": _CONDITIONS,
        "initContainerStatuses": _CONTAINER,
        "containerStatuses": _CONTAINER,
    },
}
ENDPOINT_SLICE: Tree = {
    "metadata": _IDENTITY,
    "endpoints": {"conditions": {"ready": None}, "targetRef": {"kind": None, "name": None}},
}
