"""The sandbox behaves like a real cluster in everything the product relies on."""

import asyncio
import os
from typing import Any

import aiohttp
import pytest

from loadtest.account import Account
from loadtest.load import Stream, Target, running
from sandbox import manifests
from sandbox.assets import MINOR_VARIABLE
from sandbox.cluster import Cluster
from sandbox.data_plane import DataPlane
from sandbox.names import JsonObject

_WHO_AM_I = """\
import json, os, ssl, urllib.request
mount = "/var/run/secrets/kubernetes.io/serviceaccount/"
url = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
request = urllib.request.Request(
    f"{url}/apis/authentication.k8s.io/v1/selfsubjectreviews",
    json.dumps(review).encode(),
    {"Authorization": "Bearer " + open(mount + "token").read(), "Content-Type": "application/json"},
)
tls = ssl.create_default_context(cafile=mount + "ca.crt")
answer = json.load(urllib.request.urlopen(request, context=tls, timeout=10))
print(answer["status"]["userInfo"]["username"], open(mount + "namespace").read(), os.environ["WHERE"])
"""


def _ready(pod: JsonObject) -> bool:
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True"


def _pod(name: str, **container: Any) -> JsonObject:
    specification = {"name": "main", "image": manifests.STABLE_IMAGE, **container}
    return {"metadata": {"name": name, "labels": {"app": name}}, "spec": {"containers": [specification]}}


def _waiting_for(reason: str) -> Any:
    def decide(pod: JsonObject) -> bool:
        states = [each["state"] for each in pod["status"].get("containerStatuses", ())]
        return any(state.get("waiting", {}).get("reason") == reason for state in states)

    return decide


def _endpoints(ready: int, terminating: int = 0) -> Any:
    def decide(found: JsonObject) -> bool:
        conditions = [each["conditions"] for each in found.get("endpoints") or ()]
        counts = [sum(bool(each.get(key)) for each in conditions) for key in ("ready", "terminating")]
        return counts == [ready, terminating]

    return decide


def _url(pod: JsonObject) -> str:
    return f"http://{pod['status']['podIP']}:{manifests.PORT}/"


async def _slice_name(cluster: Cluster, namespace: str, service: str) -> str:
    async with cluster.record("endpointslices", namespace) as slices:
        event = await slices.wait_for(
            lambda event: event.object["metadata"]["labels"].get("kubernetes.io/service-name") == service
        )
    return str(event.object["metadata"]["name"])


@pytest.mark.minors
async def test_controller_manager_is_of_the_minor_that_is_asked_for(cluster: Cluster) -> None:
    """What rests on the Deployment controller is tried on those of several minors."""
    manager = cluster.programs["kube-controller-manager"].specification.command
    program = [each for each in manager if not each.startswith("--")]

    said = (await cluster.run(*program, "--version")).stdout

    assert said.startswith(f"Kubernetes v{os.environ.get(MINOR_VARIABLE, '1.36')}.")


async def test_five_replicas_become_available(cluster: Cluster, namespace: str) -> None:
    """A Deployment of demo pods becomes available and fills its Service's EndpointSlice."""
    await cluster.create("services", namespace, manifests.service())

    await cluster.create("deployments", namespace, manifests.deployment())
    found = await cluster.wait_for("deployments", namespace, "echoserver", manifests.available(5), seconds=20)
    name = await _slice_name(cluster, namespace, "echoserver")
    await cluster.wait_for("endpointslices", namespace, name, _endpoints(5))

    assert found["status"]["updatedReplicas"] == 5


async def test_canary_weight_splits_requests_exactly(
    cluster: Cluster, namespace: str, data_plane: DataPlane
) -> None:
    """The data plane sends exactly a canary Ingress's weight to the canary's pods, and spreads the rest."""
    for name, image, replicas in (
        ("echoserver", manifests.STABLE_IMAGE, 5),
        ("echoserver-canary", manifests.CANARY_IMAGE, 1),
    ):
        await cluster.create("deployments", namespace, manifests.deployment(name, image, replicas))
        await cluster.create("services", namespace, manifests.service(name, name))
    for name, replicas in (("echoserver", 5), ("echoserver-canary", 1)):
        await cluster.wait_for("deployments", namespace, name, manifests.available(replicas))
    await cluster.create("ingresses", namespace, manifests.ingress())
    await data_plane.wait_for(manifests.HOST, manifests.STABLE_IMAGE)
    canary = manifests.ingress("echoserver-canary", "echoserver-canary", canary_weight=20)
    before = await data_plane.loaded()
    await cluster.create("ingresses", namespace, canary)
    await data_plane.wait_for(manifests.HOST, manifests.CANARY_IMAGE)
    assert await data_plane.loaded() > before

    # Within one configuration: with each that it loads, it deals its turns from the first again.
    traffic = await data_plane.divides(manifests.HOST, 500, lambda found: not found.loaded)

    assert traffic.lost == 0
    canary_count = traffic.by_image[manifests.CANARY_IMAGE]
    stable_counts = [count for count in traffic.by_pod.values() if count != canary_count]
    assert traffic.by_image.total() == 500
    assert abs(canary_count - 100) <= 1  # it deals by deadlines that are sums of floats
    assert len(stable_counts) == 5
    assert max(stable_counts) - min(stable_counts) <= 2


async def test_image_that_does_not_exist_is_reported(cluster: Cluster, namespace: str) -> None:
    """A pod with an unpullable image is reported as a kubelet reports it, and never ready."""
    image = f"{manifests.CANARY_IMAGE}-unpullable"

    await cluster.create("pods", namespace, _pod("broken", image=image))
    pod = await cluster.wait_for("pods", namespace, "broken", _waiting_for("ImagePullBackOff"))

    assert pod["status"]["phase"] == "Pending"
    assert not _ready(pod)


async def test_pod_that_finds_no_room_is_reported_by_the_scheduler(cluster: Cluster, namespace: str) -> None:
    """More than a node has, or a node's port that is taken on every node: pending, and said why."""
    port = {"containerPort": manifests.PORT, "hostPort": 8090}
    large_pod = _pod("large", resources={"requests": {"cpu": "2000"}})
    for pod in (large_pod, *(_pod(f"port-{number}", ports=[port]) for number in range(3))):
        await cluster.create("pods", namespace, pod)

    large = await cluster.wait_for("pods", namespace, "large", _is_unschedulable)
    async with cluster.record("pods", namespace) as record:
        without = await record.wait_for(
            lambda event: event.object["metadata"]["name"] != "large" and _is_unschedulable(event.object)
        )

    assert large["status"]["phase"] == without.object["status"]["phase"] == "Pending"


def _is_unschedulable(pod: JsonObject) -> bool:
    return any(each.get("reason") == "Unschedulable" for each in pod["status"].get("conditions", ()))


def _lacks_a_pod(status: JsonObject) -> bool:
    return status["replicas"] == 1 and "exceeded quota" in str(status.get("conditions"))


async def test_quota_refuses_pods_and_the_replica_set_says_so(cluster: Cluster, namespace: str) -> None:
    """A namespace that may have one pod has one, and its ReplicaSet names the quota."""
    quota = {"metadata": {"name": "full"}, "spec": {"hard": {"pods": "1"}}}
    await cluster.create("v1/resourcequotas", namespace, quota)
    await cluster.wait_for("v1/resourcequotas", namespace, "full", lambda found: "used" in found["status"])
    await cluster.create("deployments", namespace, manifests.deployment(replicas=2))

    async with cluster.record("replicasets", namespace) as record:
        await record.wait_for(lambda event: _lacks_a_pod(event.object["status"]))


async def test_crashing_image_is_backed_off_and_counted(cluster: Cluster, namespace: str) -> None:
    """A pod whose process ends with an error is restarted, backed off, and its restarts are counted."""
    image = f"{manifests.CANARY_IMAGE}-crashing"

    await cluster.create("pods", namespace, _pod("broken", image=image))
    pod = await cluster.wait_for("pods", namespace, "broken", _waiting_for("CrashLoopBackOff"))

    (status,) = pod["status"]["containerStatuses"]
    assert status["restartCount"] >= 1
    assert status["lastState"]["terminated"]["exitCode"] == 1


async def test_unready_image_runs_and_is_never_ready(cluster: Cluster, namespace: str) -> None:
    """A pod of an unready image runs; a ready one created after it overtakes it."""
    await cluster.create("pods", namespace, _pod("late", image=f"{manifests.CANARY_IMAGE}-unready"))
    await cluster.wait_for("pods", namespace, "late", lambda pod: pod["status"].get("phase") == "Running")
    await cluster.create("pods", namespace, _pod("good"))
    await cluster.wait_for("pods", namespace, "good", _ready)

    late = await cluster.get("pods", namespace, "late")

    assert late is not None
    assert not _ready(late)


async def test_readiness_probe_decides_readiness(cluster: Cluster, namespace: str) -> None:
    """A pod whose HTTP readiness probe gets errors is not ready though it answers."""
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    good = _pod("good", readinessProbe=probe)
    bad = _pod("bad", image=f"{manifests.CANARY_IMAGE}-failing", readinessProbe=probe)

    await cluster.create("pods", namespace, bad)
    await cluster.create("pods", namespace, good)
    await cluster.wait_for("pods", namespace, "good", _ready)
    found = await cluster.get("pods", namespace, "bad")

    assert found is not None
    assert not _ready(found)


async def test_liveness_probe_restarts_the_container(cluster: Cluster, namespace: str) -> None:
    """A container whose liveness probe fails is ended and started again."""
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}

    await cluster.create("pods", namespace, _pod("sick", livenessProbe=probe))

    await cluster.wait_for(
        "pods",
        namespace,
        "sick",
        lambda pod: any(each["restartCount"] > 0 for each in pod["status"].get("containerStatuses", ())),
    )


async def test_pod_with_pre_stop_hook_serves_while_terminating(cluster: Cluster, namespace: str) -> None:
    """Endpoints go when a pod is being deleted, while its process still answers until the hook is over."""
    await cluster.create("services", namespace, manifests.service())
    await cluster.create("deployments", namespace, manifests.deployment(replicas=1, pre_stop_seconds=3))
    await cluster.wait_for("deployments", namespace, "echoserver", manifests.available(1))
    name = await _slice_name(cluster, namespace, "echoserver")
    (pod,) = await cluster.list("pods", namespace)

    await cluster.delete("pods", namespace, pod["metadata"]["name"])
    await cluster.wait_for("endpointslices", namespace, name, _endpoints(1, terminating=1))
    async with aiohttp.ClientSession() as session, session.get(_url(pod)) as response:
        answer = await response.json()
    await cluster.wait_gone("pods", namespace, pod["metadata"]["name"])

    assert answer["pod"] == pod["metadata"]["name"]


@pytest.mark.parametrize("drains", [False, True])
async def test_open_request_is_answered_only_by_a_pod_that_drains(
    cluster: Cluster, namespace: str, *, drains: bool
) -> None:
    """SIGTERM in the middle of a request of 1 s, sent to the pod itself."""
    await cluster.create("deployments", namespace, manifests.deployment(replicas=1, drains=drains))
    await cluster.wait_for("deployments", namespace, "echoserver", manifests.available(1))
    (pod,) = await cluster.list("pods", namespace)
    answered, account = asyncio.Semaphore(0), Account()
    target = Target(_url(pod).rstrip("/"), revision_header="X-Image", timeout=5)

    async with running(target, [Stream("slow", 20, "/?seconds=1")], account) as load:
        account.observe = lambda _: answered.release()
        async with asyncio.timeout(30):
            await answered.acquire()
            load.stop()
            for _ in range(10):  # half of those that are open: the youngest of them has long arrived then
                await answered.acquire()
        await cluster.delete("pods", namespace, pod["metadata"]["name"])

    assert account.total > 1
    assert (account.lost == 0) is drains


async def test_native_update_with_pre_stop_hook_loses_nothing(
    cluster: Cluster, namespace: str, data_plane: DataPlane
) -> None:
    """With a preStop hook longer than the data plane's delay, a rolling update loses no request."""
    lost = await _lost_in_update(cluster, namespace, data_plane, manifests.deployment(pre_stop_seconds=3))

    assert lost == 0


async def test_native_update_without_pre_stop_hook_loses_requests(
    cluster: Cluster, namespace: str, data_plane: DataPlane
) -> None:
    """The meter sees loss: pods that end at once are still routed to for a moment."""
    lost = await _lost_in_update(cluster, namespace, data_plane, manifests.deployment())

    assert lost > 0


async def _lost_in_update(
    cluster: Cluster, namespace: str, data_plane: DataPlane, deployment: JsonObject
) -> int:
    host = f"{namespace}.example.com"
    await cluster.create("services", namespace, manifests.service())
    await cluster.create("ingresses", namespace, manifests.ingress(host=host, retries=False))
    await cluster.create("deployments", namespace, deployment)
    await cluster.wait_for("deployments", namespace, "echoserver", manifests.available(5))
    await data_plane.wait_for(host, manifests.STABLE_IMAGE)
    image = f"echoserver={manifests.CANARY_IMAGE}"
    async with data_plane.load(host, rate=200) as account:
        await cluster.kubectl("-n", namespace, "set", "image", "deployment/echoserver", image)
        await cluster.wait_for("deployments", namespace, "echoserver", manifests.available(5))
        await data_plane.wait_for(host, manifests.CANARY_IMAGE)
    return account.lost


async def test_job_of_a_real_command_completes(cluster: Cluster, namespace: str) -> None:
    """A Job's pod runs its command to the end, and the Job is complete."""
    container = {
        "name": "main",
        "image": "example.com/anything:1",
        "command": ["sh", "-c", "echo done > /out/x"],
    }
    mounted = {**container, "volumeMounts": [{"name": "out", "mountPath": "/out"}]}
    specification = {
        "restartPolicy": "Never",
        "containers": [mounted],
        "volumes": [{"name": "out", "emptyDir": {}}],
    }
    job = {"metadata": {"name": "once"}, "spec": {"template": {"spec": specification}}}

    await cluster.create("jobs", namespace, job)
    found = await cluster.wait_for("jobs", namespace, "once", lambda job: job["status"].get("succeeded") == 1)

    assert "failed" not in found["status"]


async def test_failing_job_fails(cluster: Cluster, namespace: str) -> None:
    """A Job whose command ends with an error fails when its retries are used up."""
    container = {"name": "main", "image": "example.com/anything:1", "command": ["sh", "-c", "exit 3"]}
    specification = {"restartPolicy": "Never", "containers": [container]}
    job = {"metadata": {"name": "once"}, "spec": {"backoffLimit": 0, "template": {"spec": specification}}}

    await cluster.create("jobs", namespace, job)

    await cluster.wait_for("jobs", namespace, "once", lambda job: job["status"].get("failed") == 1)


async def test_own_image_has_a_working_token(cluster: Cluster, namespace: str) -> None:
    """A process of the project's own image reaches the API server as its pod's ServiceAccount."""
    await cluster.create("serviceaccounts", namespace, {"metadata": {"name": "robot"}})
    where = {"name": "WHERE", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    pod = _pod("robot", image="registry.example.com/sluice:0.1.0", args=["-c", _WHO_AM_I], env=[where])
    pod["spec"] |= {"serviceAccountName": "robot", "restartPolicy": "Never"}

    await cluster.create("pods", namespace, pod)
    found = await cluster.wait_for(
        "pods", namespace, "robot", lambda pod: pod["status"].get("phase") in {"Succeeded", "Failed"}
    )

    expected = f"system:serviceaccount:{namespace}:robot {namespace} {found['status']['podIP']}"
    assert cluster.container_log(namespace, "robot", "main").strip() == expected


async def test_two_pods_may_listen_on_the_same_port(cluster: Cluster, namespace: str) -> None:
    """Pods of real commands have a network of their own, and reach each other."""
    arguments = ["-m", "http.server", "9443", "--directory", "/var/empty"]
    probe = {"httpGet": {"port": "https", "path": "/"}, "periodSeconds": 1}
    container = {
        "image": "sluice:0.1.0",
        "args": arguments,
        "ports": [{"name": "https", "containerPort": 9443}],
        "readinessProbe": probe,
        "volumeMounts": [{"name": "empty", "mountPath": "/var/empty"}],
    }
    for name in ("one", "two"):
        pod = _pod(name, **container)
        pod["spec"]["volumes"] = [{"name": "empty", "emptyDir": {}}]
        await cluster.create("pods", namespace, pod)

    await cluster.wait_for("pods", namespace, "one", _ready)
    await cluster.wait_for("pods", namespace, "two", _ready)


async def test_restarted_api_server_is_survived(cluster: Cluster, namespace: str) -> None:
    """Watches go on over a restart of the API server, and pods become ready after it."""
    async with cluster.record("pods", namespace) as pods:
        await cluster.restart("kube-apiserver")
        await cluster.create("pods", namespace, _pod("after"))
        await pods.wait_for(lambda event: _ready(event.object))


async def test_killed_process_is_started_again(cluster: Cluster, namespace: str) -> None:
    """Every demo container is a process of its own: killed, it is restarted alone."""
    await cluster.create("pods", namespace, _pod("victim"))
    await cluster.wait_for("pods", namespace, "victim", _ready)

    await cluster.run("pkill", "--signal", "KILL", "--full", f'"pod": "victim", "namespace": "{namespace}"')

    def restarted(pod: JsonObject) -> bool:
        return pod["status"]["containerStatuses"][0]["restartCount"] == 1 and _ready(pod)

    await cluster.wait_for("pods", namespace, "victim", restarted)


async def test_record_holds_every_event(cluster: Cluster, namespace: str) -> None:
    """A record is complete at its end, without waiting for a particular event."""
    await cluster.create("configmaps", namespace, {"metadata": {"name": "counter"}, "data": {"n": "0"}})

    async with cluster.record("configmaps", namespace, "counter") as record:
        for number in range(1, 21):
            await cluster.patch("configmaps", namespace, "counter", {"data": {"n": str(number)}})
        await cluster.delete("configmaps", namespace, "counter")

    assert [each["data"]["n"] for each in record.objects] == [*map(str, range(21)), "20"]
    assert record.events[-1].type == "DELETED"


async def test_helm_installs_and_runs_hooks(cluster: Cluster, namespace: str) -> None:
    """The real Helm speaks to the cluster."""
    found, versions = await asyncio.gather(
        cluster.helm("list", "-n", namespace, "-o", "json"), cluster.kubectl("version", "-o", "json")
    )

    assert found.stdout.strip() == "[]"
    assert '"gitVersion": "v1.36.3"' in versions.stdout


async def test_init_containers_run_first_and_once(cluster: Cluster, namespace: str) -> None:
    """The containers of a pod start when its init containers have ended well, whatever it restarts."""
    pod = _pod("steps")
    shell = {"image": "example.com/tools:1", "command": ["sh", "-c"]}
    pod["spec"]["initContainers"] = [
        {"name": "first", **shell, "args": ["echo one"]},
        {"name": "second", **shell, "args": ["echo two"]},
    ]

    await cluster.create("pods", namespace, pod)
    found = await cluster.wait_for("pods", namespace, "steps", _ready)

    assert [each["restartCount"] for each in found["status"]["initContainerStatuses"]] == [0, 0]
    assert cluster.container_log(namespace, "steps", "second") == "two\n"


async def test_logs_are_shown_by_kubectl(cluster: Cluster, namespace: str) -> None:
    """What a container writes is what `kubectl logs` prints, and follows until the container ends."""
    command = ["sh", "-c", "echo one; sleep 2; echo two"]
    pod = _pod("talker", image="example.com/tools:1", command=command)
    pod["spec"]["restartPolicy"] = "Never"
    await cluster.create("pods", namespace, pod)
    await cluster.wait_for("pods", namespace, "talker", _ready)

    followed = await cluster.kubectl("logs", "-n", namespace, "talker", "--follow")
    last = await cluster.kubectl("logs", "-n", namespace, "talker", "--tail=1")

    assert (followed.stdout, last.stdout) == ("one\ntwo\n", "two\n")


async def test_pod_deleted_before_its_process_started_goes(cluster: Cluster, namespace: str) -> None:
    """Created and deleted in one breath, a pod leaves nothing."""
    for number in range(10):
        name = f"brief-{number}"
        await cluster.create("pods", namespace, _pod(name))
        await cluster.delete("pods", namespace, name)

    for number in range(10):
        await cluster.wait_gone("pods", namespace, f"brief-{number}", seconds=20)


async def test_force_deleted_pod_is_killed(cluster: Cluster, namespace: str) -> None:
    """A pod the API has forgotten does not go on answering."""
    await cluster.create("pods", namespace, _pod("forced"))
    pod = await cluster.wait_for("pods", namespace, "forced", _ready)
    await cluster.kubectl("delete", "pod", "-n", namespace, "forced", "--force", "--grace-period=0")

    async with asyncio.timeout(10):
        while await _answers(pod):  # noqa: ASYNC110  a process's end is no event of the cluster
            await asyncio.sleep(0.05)


async def _answers(pod: JsonObject) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(_url(pod)):
            return True
    except aiohttp.ClientError:
        return False


async def test_killed_node_takes_its_processes_along(cluster: Cluster, namespace: str) -> None:
    """When the node dies its pods are silent; when it is back they serve again, restarted."""
    await cluster.create("pods", namespace, _pod("echo"))
    tools = {"image": "example.com/tools:1", "command": ["sleep", f"9999.{namespace[5:]}"]}
    await cluster.create("pods", namespace, _pod("tool", **tools))
    for name in ("echo", "tool"):
        await cluster.wait_for("pods", namespace, name, _ready)
    pattern = f'{tools["command"][1]}|"namespace": "{namespace}"'
    before = await cluster.run("pgrep", "--full", pattern, check=False)

    await cluster.kill("node")
    async with asyncio.timeout(10):
        while (await cluster.run("pgrep", "--full", pattern, check=False)).stdout:
            pass
    await cluster.restart("node")

    assert len(before.stdout.split()) >= 2
    async with asyncio.timeout(10):
        while True:
            if await _answers(await cluster.wait_for("pods", namespace, "echo", _ready)):
                break
            await asyncio.sleep(0.05)
