"""Logging in from inside a pod."""

import sys

from kube.wire import JsonObject
from sandbox.cluster import Cluster

WHOAMI = """
import asyncio, os
from kube.client import Client
from kube.login import log_in

async def main():
    async with Client(await log_in(environ=os.environ), user_agent="test") as client:
        print((await client.whoami()).username, flush=True)

asyncio.run(main())
"""


def finished(pod: JsonObject) -> bool:
    """Tell whether a pod has come to its end."""
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


async def test_pod_logs_in_as_its_service_account(cluster: Cluster, namespace: str) -> None:
    """By the token, CA and address that every pod is given."""
    container = {"name": "main", "image": "python", "command": [sys.executable, "-c", WHOAMI]}
    spec = {"restartPolicy": "Never", "serviceAccountName": "default", "containers": [container]}
    await cluster.create(
        "pods", namespace, {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "who"}, "spec": spec}
    )
    await cluster.wait_for("pods", namespace, "who", finished)

    log = cluster.container_log(namespace, "who", "main")
    assert log.strip() == f"system:serviceaccount:{namespace}:default"
