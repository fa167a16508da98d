"""What the caches keep of an object says the same of it as the whole one."""

import msgspec

from reconciler import projections
from rollout import names
from rollout.observation import read_replica_set


def test_kept_replica_set_reads_as_the_whole_one() -> None:
    """Every field that is read has a value of its own here, so that none can be missing unseen."""
    labels = {"app": "web", names.POD_TEMPLATE_HASH: "abc"}
    whole = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": "web-abc",
            "namespace": "shop",
            "uid": "uid-1",
            "resourceVersion": "7",
            "generation": 4,
            "labels": labels,
            "annotations": {names.DESIRED_REPLICAS: "8", names.MAX_REPLICAS: "9", "other": "x"},
            "ownerReferences": [{"kind": "Deployment", "name": "web", "uid": "uid-2", "controller": True}],
        },
        "spec": {"replicas": 5, "template": {"metadata": {"labels": labels}, "spec": {"containers": []}}},
        "status": {"observedGeneration": 3, "replicas": 6, "readyReplicas": 2, "availableReplicas": 1},
    }

    read = read_replica_set(projections.revision(msgspec.json.encode(whole)))

    assert read == read_replica_set(whole)
    assert not read.observed
