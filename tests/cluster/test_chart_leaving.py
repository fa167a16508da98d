"""The chart taken out of a real cluster again, in each of the ways there are, while a release waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
import yaml

from sandbox import manifests
from sandbox.cluster import Cluster
from sandbox.control_plane import Options
from sandbox.names import JsonObject
from tests.cluster import custom_kinds, gateways, istio, traffic_routings
from tests.cluster.application import ALPHA, NAME, V1, V2, V3, Application
from tests.cluster.chart_install import CHART, NAMESPACE, PROCESSES, fully_available, install
from tests.cluster.partitions import counts, divided, limited, partition, release_slowly
from tests.cluster.plans import step
from tests.cluster.policies import refusing
from tests.cluster.product import LEASE, Product, holder
from tests.cluster.readiness import counting

pytestmark = pytest.mark.long

LABEL = "app.kubernetes.io/name=sluice"
CLUSTER_SCOPED = (
    "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations"
)
NAMESPACED = "deployments,services,serviceaccounts,roles,rolebindings,poddisruptionbudgets,jobs,pods"


@pytest_asyncio.fixture(loop_scope="session")
async def own_cluster() -> AsyncIterator[Cluster]:
    """Run a cluster beside the session's one, for one test."""
    async with Cluster(Options(ordinal=1)) as running:
        yield running


async def _ours(cluster: Cluster, resources: str, *flags: str) -> set[str]:
    found = await cluster.kubectl("get", resources, "-l", LABEL, "-o", "name", *flags)
    return set(found.stdout.split())


async def _assert_nothing_is_left(cluster: Cluster) -> None:
    for process in PROCESSES:
        await cluster.wait_gone("deployments", NAMESPACE, process, 60)
        await cluster.wait_gone("serviceaccounts", NAMESPACE, process, 60)
    for kind in ("clusterroles", "clusterrolebindings"):
        await cluster.wait_gone(f"rbac.authorization.k8s.io/v1/{kind}", None, "sluice-reconciler", 60)
    assert await _ours(cluster, CLUSTER_SCOPED) == set()
    await cluster.wait_gone("secrets", NAMESPACE, "sluice-webhook-certs", 60)
    await cluster.wait_gone("leases", NAMESPACE, "sluice-reconciler", 60)
    crds = await cluster.kubectl("get", "crds", "-o", "name")
    assert "customresourcedefinition.apiextensions.k8s.io/rollouts.rollouts.kruise.io" in crds.stdout.split()
    assert (await cluster.kubectl("get", "rollouts", "-A")).returncode == 0


OURS = ("sluice.dev/", "rollouts.kruise.io/")


async def _release_under_way(cluster: Cluster) -> Application:
    """Bring a release to its first step, where 20 % of the requests go to the canary by either route."""
    await cluster.create_namespace("shop")
    await custom_kinds.install(cluster, istio.DEFINITIONS[0])
    app = Application(cluster, "shop")
    await app.create(istio.virtual_service())
    rollout = manifests.rollout(grace_period_seconds=0)
    rollout["spec"]["strategy"]["canary"]["trafficRoutings"][0]["customNetworkRefs"] = [istio.ref()]
    await app.deploy(rollout)
    await app.set_image(V2)
    await app.waits(1, 1)
    assert _marks(await app.get(istio.VIRTUAL_SERVICES))
    return app


async def _assert_whole(app: Application) -> None:
    """Check that the new version is out, every pod serves, and of ours only the Rollout is left."""
    await app.serves(V2)
    deployment = await app.wait("deployments", fully_available)
    service, rollout = await app.get("services"), await app.get("rollouts")
    for kind in ("deployments", "services", "ingresses"):
        assert [each["metadata"]["name"] for each in await app.cluster.list(kind, app.namespace)] == [NAME]
    assert "paused" not in deployment["spec"]
    assert "pod-template-hash" not in service["spec"]["selector"]
    route = await app.get(istio.VIRTUAL_SERVICES)
    assert route["spec"] == istio.virtual_service()["spec"]
    assert _marks(route) == set()
    assert _marks(deployment) | _marks(service) | _marks(rollout) == set()
    assert "uninstalled" in rollout["status"]["message"]
    assert (await app.get(ALPHA))["metadata"]["uid"] == rollout["metadata"]["uid"]


def _marks(found: JsonObject) -> set[str]:
    """Name what we wrote on an object: labels, annotations, finalizers."""
    metadata = found["metadata"]
    keys = (*metadata.get("labels", ()), *metadata.get("annotations", ()), *metadata.get("finalizers", ()))
    return {key for key in keys if key.startswith(OURS)}


async def test_helm_uninstall_leaves_everything_whole(own_cluster: Cluster) -> None:
    """The hook ends the release first and succeeds; Rollouts stay, and are the next install's."""
    await install(own_cluster)
    app = await _release_under_way(own_cluster)

    await own_cluster.helm("uninstall", "sluice", "-n", NAMESPACE, "--wait", "--timeout", "4m")

    await _assert_whole(app)
    await _assert_nothing_is_left(own_cluster)
    await own_cluster.kubectl("wait", "--for=delete", "pods", "-l", LABEL, "-n", NAMESPACE, "--timeout=60s")
    assert await _ours(own_cluster, NAMESPACED, "-n", NAMESPACE) == set()
    await install(own_cluster)  # the definitions stayed: nobody may own what the chart says in them
    await app.governed()
    assert (await app.get(ALPHA))["metadata"]["uid"] == (await app.get("rollouts"))["metadata"]["uid"]
    await app.kubectl("delete", "rollout", NAME, "--timeout=30s")


async def test_failed_uninstall_says_what_is_left_and_can_be_taken_back(own_cluster: Cluster) -> None:
    """By the commands of docs/uninstalling.md, after which changes are held as before."""
    await install(own_cluster, "--set", "leaving.timeoutSeconds=30")
    app = await _release_under_way(own_cluster)

    async with _refused(own_cluster, "services", app.namespace, NAME):
        failed = await own_cluster.helm("uninstall", "sluice", "-n", NAMESPACE, check=False)
        log = (await own_cluster.kubectl("-n", NAMESPACE, "logs", "job/sluice-leave")).stdout
        await own_cluster.kubectl("-n", NAMESPACE, "delete", "job", "sluice-leave")
        request = ("deployment", "sluice-reconciler", "sluice.dev/leave-")
        await own_cluster.kubectl("-n", NAMESPACE, "annotate", *request)
        await own_cluster.helm("rollback", "sluice", "1", "-n", NAMESPACE)
    await own_cluster.wait_for("mutatingwebhookconfigurations", None, "sluice-mutating", _is_trusted)
    await app.set_image(V3)
    await app.waits(1, 1)

    reconciler = await own_cluster.wait_for("deployments", NAMESPACE, "sluice-reconciler", fully_available)
    assert failed.returncode != 0
    assert f"Rollout {app.namespace}/{NAME} is not let go" in log
    assert "sluice.dev/leave" not in reconciler["metadata"]["annotations"]


def _is_trusted(configuration: JsonObject) -> bool:
    return all(each["clientConfig"].get("caBundle") for each in configuration["webhooks"])


async def test_uninstalling_ends_although_a_rollout_is_left_in_no_namespace(own_cluster: Cluster) -> None:
    """Who removes a stuck namespace by force leaves what was in it, and nobody can write there."""
    await install(own_cluster)
    await own_cluster.create_namespace("lost")
    app = Application(own_cluster, "lost")
    await app.create(manifests.service(), manifests.ingress())
    await app.create(manifests.deployment(replicas=1), manifests.rollout())
    await app.governed()
    await own_cluster.kubectl("scale", "-n", NAMESPACE, "deployment/sluice-reconciler", "--replicas=0")
    await own_cluster.kubectl("delete", "namespace", "lost", "--wait=false")
    await own_cluster.kubectl(
        "replace", "--raw", "/api/v1/namespaces/lost/finalize", "-f", "-", stdin=_NO_ONE
    )
    await own_cluster.wait_gone("namespaces", None, "lost")
    await own_cluster.kubectl("scale", "-n", NAMESPACE, "deployment/sluice-reconciler", "--replicas=2")
    await own_cluster.wait_for("deployments", NAMESPACE, "sluice-reconciler", fully_available, 60)

    await own_cluster.helm("uninstall", "sluice", "-n", NAMESPACE, "--wait", "--timeout", "2m")

    assert (await app.get("rollouts"))["metadata"]["finalizers"]
    await _assert_nothing_is_left(own_cluster)


_NO_ONE = (
    '{"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "lost"}, "spec": {"finalizers": []}}'
)


async def test_uninstalling_ends_although_the_definitions_are_gone(own_cluster: Cluster) -> None:
    """With them went every Rollout; processes that start only then find none, and do what is left."""
    await install(own_cluster)
    await own_cluster.kubectl("delete", "-f", f"{CHART}/crds", "--timeout=60s")
    for pod in await own_cluster.list("pods", NAMESPACE, "app.kubernetes.io/component=reconciler"):
        Product(own_cluster).kill(pod["metadata"]["name"])

    await own_cluster.helm("uninstall", "sluice", "-n", NAMESPACE)

    for process in PROCESSES:
        await own_cluster.wait_gone("deployments", NAMESPACE, process, 60)
        await own_cluster.wait_gone("serviceaccounts", NAMESPACE, process, 60)
    assert await _ours(own_cluster, CLUSTER_SCOPED) == set()


async def test_uninstalling_lets_go_of_a_traffic_routing(own_cluster: Cluster) -> None:
    """What a release went through is nobody's again, says so, and can be deleted without us."""
    await install(own_cluster)
    await own_cluster.create_namespace("shop")
    app = Application(own_cluster, "shop")
    await app.create(traffic_routings.routing())
    await app.deploy(traffic_routings.referring())
    await app.set_image(V2)
    await app.waits(1, 1)
    during = await app.get(traffic_routings.RESOURCE, traffic_routings.SHARED)

    await own_cluster.helm("uninstall", "sluice", "-n", NAMESPACE, "--wait", "--timeout", "4m")

    found = await app.get(traffic_routings.RESOURCE, traffic_routings.SHARED)
    assert _marks(during)
    assert _marks(found) == set()
    assert found["status"]["phase"] == "Initial"
    assert "uninstalled" in found["status"]["message"]
    assert _marks(await app.get("rollouts")) == set()
    await app.kubectl("delete", "trafficrouting", traffic_routings.SHARED, "--timeout=30s")


async def test_uninstalling_gives_an_http_route_back(own_cluster: Cluster) -> None:
    """A release by Gateway is ended like any other: the rules are what they were, nothing of ours stays."""
    await own_cluster.gateway()
    await install(own_cluster)
    await own_cluster.create_namespace("shop")
    app = Application(own_cluster, "shop")
    await app.create(gateways.http_route(app.host))
    await app.deploy(gateways.by_gateway(manifests.rollout(grace_period_seconds=0)))
    own = await app.wait(gateways.RESOURCE, gateways.accepted)
    await app.set_image(V2)
    await app.waits(1, 1)
    during = await app.get(gateways.RESOURCE)

    await own_cluster.helm("uninstall", "sluice", "-n", NAMESPACE, "--wait", "--timeout", "4m")

    after = await app.get(gateways.RESOURCE)
    assert _marks(during)
    assert _marks(after) == set()
    assert after["spec"] == own["spec"]
    await app.serves(V2)


_OWN_LIMITS: JsonObject = {"maxSurge": "40%", "maxUnavailable": "20%"}
"""Wider than what is held while a release goes on inside the Deployment: no surge."""


async def _middle_of_a_batch(cluster: Cluster) -> Application:
    """Bring a release in partition style to where one of five pods is new, and the next is starting."""
    await cluster.create_namespace("shop")
    app = Application(cluster, "shop")
    steps = (step(None, "20%"), step(None, "80%"), step(None, "100%"))
    await app.deploy(partition(*steps, routed=False), deployment=limited(_OWN_LIMITS))
    await release_slowly(app, V2, 3)
    await app.waits(1, 3)
    await app.approve()
    await app.wait("deployments", lambda found: counts(found) == (2, 4))
    return app


@pytest.mark.parametrize("flags", [("--wait", "--timeout", "4m"), ("--no-hooks",)], ids=["hooks", "none"])
async def test_uninstalling_in_the_middle_of_a_batch_costs_no_pod(
    own_cluster: Cluster, flags: tuple[str, ...]
) -> None:
    """The Deployment goes on natively, by the strategy of its owner, within its limits."""
    await install(own_cluster)
    app = await _middle_of_a_batch(own_cluster)
    during = await app.get("deployments")

    async with counting(app) as readiness:
        await own_cluster.helm("uninstall", "sluice", "-n", NAMESPACE, *flags)
        await app.serves(V2)
        deployment = await app.wait("deployments", fully_available)
        await _assert_nothing_is_left(own_cluster)

    assert readiness.lowest() >= 4
    assert during["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0
    assert deployment["spec"]["strategy"] == {"type": "RollingUpdate", "rollingUpdate": _OWN_LIMITS}
    assert "paused" not in deployment["spec"]
    assert _marks(await app.get("deployments")) == set()


async def test_deployment_that_was_abandoned_in_the_middle_of_a_batch_is_resumed_by_hand(
    own_cluster: Cluster,
) -> None:
    """All of ours is gone at one moment: `kubectl rollout resume` ends what nobody is left to end."""
    await install(own_cluster)
    app = await _middle_of_a_batch(own_cluster)

    async with counting(app) as readiness:
        for process in PROCESSES:
            await own_cluster.patch("deployments", NAMESPACE, process, {"spec": {"replicas": 0}})
        for kind in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"):
            await own_cluster.kubectl("delete", kind, "-l", LABEL, "--wait=false")
        for process in PROCESSES:
            selector = f"app.kubernetes.io/component={process.removeprefix('sluice-')}"
            await own_cluster.kubectl(
                "wait", "--for=delete", "pods", "-l", selector, "-n", NAMESPACE, "--timeout=60s"
            )
        abandoned, pods = await app.get("deployments"), divided(await app.pods())
        await app.kubectl("rollout", "resume", f"deployment/{NAME}")
        await app.serves(V2)
        await app.wait("deployments", fully_available)

    assert abandoned["spec"]["strategy"]["type"] == "RollingUpdate"
    assert abandoned["spec"]["paused"] is True
    assert pods.keys() == {V1, V2}
    assert readiness.lowest() >= 4


async def test_uninstalling_without_hooks_leaves_everything_whole(own_cluster: Cluster) -> None:
    """What the reconciler needs is held by finalizers until it has finished."""
    await install(own_cluster)
    app = await _release_under_way(own_cluster)

    await own_cluster.helm("uninstall", "sluice", "-n", NAMESPACE, "--no-hooks")

    await _assert_whole(app)
    await _assert_nothing_is_left(own_cluster)


@asynccontextmanager
async def _refused(cluster: Cluster, plural: str, namespace: str, name: str) -> AsyncIterator[None]:
    """Refuse whatever the reconciler does to objects of a core kind, as a policy of the cluster can."""
    user = f"system:serviceaccount:{NAMESPACE}:sluice-reconciler"
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["UPDATE", "DELETE"],
        "resources": [plural],
    }
    policy = {
        "matchConstraints": {"resourceRules": [rule]},
        "matchConditions": [{"name": "ours", "expression": f"request.userInfo.username == '{user}'"}],
        "validations": [{"expression": "false"}],
    }
    tried = ("annotate", plural, name, "-n", namespace, "tried=it", f"--as={user}", "--dry-run=server")
    async with refusing(cluster, f"{plural}-stay", policy):
        async with asyncio.timeout(30):  # an API server takes a moment to heed a policy
            while f"{plural}-stay" not in (await cluster.kubectl(*tried, check=False)).stderr:
                pass
        yield


async def test_leader_that_is_held_up_and_loses_its_lease_lets_go_to_the_end(own_cluster: Cluster) -> None:
    """Its rights go one after the other, so nobody else could: what is left would be held for ever.

    It is held up where its rights beyond our namespace are gone already.
    """
    await install(own_cluster)
    leader = await Product(own_cluster).leader()
    lease = await own_cluster.wait_for("leases", NAMESPACE, LEASE, lambda _: True)
    await own_cluster.wait_for(
        "rolebindings", NAMESPACE, "sluice-reconciler", lambda found: "finalizers" in found["metadata"]
    )

    async with _refused(own_cluster, "serviceaccounts", NAMESPACE, "sluice-reconciler"):
        await own_cluster.helm("uninstall", "sluice", "-n", NAMESPACE, "--no-hooks")
        await own_cluster.wait_gone("clusterrolebindings", None, "sluice-reconciler", 60)
        await own_cluster.delete("leases", NAMESPACE, LEASE)
        await own_cluster.wait_for(
            "leases", NAMESPACE, LEASE, lambda found: holder(found) not in {"", leader}
        )

    await _assert_nothing_is_left(own_cluster)
    # The account is deleted in foreground, with whatever it owns: a leader would lose its Lease by that.
    assert [each["kind"] for each in lease["metadata"]["ownerReferences"]] == ["RoleBinding"]


@pytest.mark.parametrize("order", ["as-rendered", "reversed", "rights-first"])
async def test_deleting_the_manifests_in_any_order_leaves_everything_whole(
    own_cluster: Cluster, order: str
) -> None:
    """Nobody has to know what depends on what."""
    rendered = await own_cluster.helm("template", "sluice", CHART, "-n", NAMESPACE, "--no-hooks")
    parts = [each for each in yaml.safe_load_all(rendered.stdout) if each]
    await own_cluster.create_namespace(NAMESPACE)
    await own_cluster.kubectl("create", "-f", f"{CHART}/crds")
    await own_cluster.kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(parts))
    for process in PROCESSES:
        await own_cluster.wait_for("deployments", NAMESPACE, process, fully_available, 60)
    app = await _release_under_way(own_cluster)

    deleted = yaml.safe_dump_all(_ordered(parts, order))
    # The webhook configurations may be gone before their turn comes: leaving begins with them.
    flags = ("--ignore-not-found", "--timeout=120s")
    await own_cluster.kubectl("delete", "-f", "-", *flags, stdin=deleted)

    await _assert_whole(app)
    await _assert_nothing_is_left(own_cluster)


def _ordered(manifests: list[JsonObject], order: str) -> list[JsonObject]:
    if order == "reversed":
        return manifests[::-1]
    if order == "rights-first":
        rights = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
        return sorted(manifests, key=lambda each: each["kind"] not in rights)
    return manifests


async def test_deleting_the_namespace_leaves_everything_whole(own_cluster: Cluster) -> None:
    """Cluster-wide objects belong to the namespace by the time it is gone."""
    await install(own_cluster)
    app = await _release_under_way(own_cluster)

    await own_cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")

    await _assert_whole(app)
    await _assert_nothing_is_left(own_cluster)
