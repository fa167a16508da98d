"""Partition style in the large: many pods at a time, and as many as the limits allow."""

from itertools import pairwise

import pytest

from sandbox import manifests
from tests.cluster import inventory
from tests.cluster.application import COMPLETED, V1, V2, Application, image_of_pod, present, shows
from tests.cluster.partitions import counts, partition
from tests.cluster.plans import step
from tests.cluster.readiness import counting

pytestmark = [pytest.mark.minors, pytest.mark.long]

_PODS, _BATCHES = 200, 10
_MISSING = 20
"""Pods that may be missing: 10 %."""

_GRACE = 2
_DRAIN = 3
"""Seconds that pods go on serving when they are to end: longer than the data plane takes to notice."""


_SECONDS = 180
"""For ten batches of twenty pods, which wait for the data plane twice each: a minute on a free machine."""


async def test_two_hundred_pods_are_replaced_in_ten_batches_under_load(app: Application) -> None:
    """At every event 180 of 200 are ready; each step has its share of pods; no request is lost."""
    shares = [100 * number // _BATCHES for number in range(1, _BATCHES + 1)]
    rollout = partition(*(step(share, f"{share}%", 0 if share < 100 else None) for share in shares))
    (routing,) = rollout["spec"]["strategy"]["canary"]["trafficRoutings"]
    routing["gracePeriodSeconds"] = _GRACE
    deployment = manifests.deployment(replicas=_PODS, pre_stop_seconds=_DRAIN)
    deployment["spec"]["strategy"] = {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "10%"}}
    await app.deploy(rollout, replicas=_PODS, deployment=deployment)
    before = await inventory.take(app)
    data_plane = await app.cluster.data_plane()
    await app.serves_requests()

    async with (
        counting(app) as readiness,
        app.cluster.record("deployments", app.namespace) as deployments,
        data_plane.load(app.host, rate=50) as account,
    ):
        await app.set_image(V2)
        await app.wait("rollouts", shows("Healthy", _BATCHES, "Completed", COMPLETED), seconds=_SECONDS)
        await inventory.settled(app)

    assert readiness.lowest() >= _PODS - _MISSING
    assert readiness.most(V1) == _PODS
    assert account.lost == 0
    assert account.answered[V2] > 0
    new = [counts(each)[0] for each in deployments.objects if each["metadata"]["name"] == manifests.NAME]
    assert {_PODS * share // 100 for share in shares} <= set(new)
    assert max(after - earlier for earlier, after in pairwise(new)) <= _MISSING
    assert {image_of_pod(pod) for pod in present(readiness.pods.events)} == {V2}
    assert inventory.leftovers(before, await inventory.settled(app)) == []
