"""The objects that a release adds: the user's own, less what belongs to one object or one tool alone."""

from typing import Any

import pytest

from rollout import manifests, names
from rollout.spec import PodTemplatePatch
from tests.unit.rollout.model.objects import deployment
from tests.unit.rollout.model.routing import service

OWNER = manifests.owner_reference("web", "uid-1")
TRACKERS = [
    "app.oam.dev/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "argocd.argoproj.io/tracking-id",
    "helm.sh/chart",
    "helm.toolkit.fluxcd.io/name",
    "kubectl.kubernetes.io/last-applied-configuration",
    "kustomize.toolkit.fluxcd.io/name",
    "meta.helm.sh/release-name",
    "rollouts.kruise.io/in-progressing",
    "rollouts.kruise.io/workload-type",
    "sluice.dev/release",
    "deployment.kubernetes.io/revision",
]


def canary(workload: dict[str, Any], patch: PodTemplatePatch | None = None) -> dict[str, Any]:
    """Render the canary Deployment."""
    return manifests.canary_deployment(workload, "k4x9d", patch or PodTemplatePatch(), OWNER)


@pytest.mark.parametrize("field", ["labels", "annotations"])
@pytest.mark.parametrize("key", TRACKERS)
def test_canary_carries_no_tracker(key: str, field: str) -> None:
    """A tool that prunes what it tracks must not find our copy under its own mark."""
    workload = deployment("v2", 5)
    workload["metadata"][field] = {key: "x", "team": "a"}
    metadata = canary(workload)["metadata"]

    assert metadata[field].get(key) in {None, "k4x9d"}  # our own release id, not the stable one's
    assert metadata[field]["team"] == "a"


def test_canary_runs_the_same_template_without_pods_and_without_pause() -> None:
    """Selector, template and strategy are the workload's; it starts empty, and is not held by its gate."""
    workload = deployment("v2", 5)
    workload["spec"] |= {"paused": True, "strategy": {"type": "RollingUpdate"}, "minReadySeconds": 3}
    made = canary(workload)

    assert made["metadata"]["name"] == "web-k4x9d"
    assert made["metadata"]["ownerReferences"] == [OWNER]
    kept = {key: value for key, value in workload["spec"].items() if key != "paused"}
    assert made["spec"] == kept | {"replicas": 0, "progressDeadlineSeconds": 2147483647}


def test_patch_of_the_pod_template_reaches_canary_pods_only() -> None:
    """Labels and annotations are added to the canary's template; the workload's stays as it was."""
    workload = deployment("v2", 5)
    made = canary(workload, PodTemplatePatch(labels={"lane": "canary"}, annotations={"note": "x"}))

    assert made["spec"]["template"]["metadata"] == {
        "labels": {"app": "web", "lane": "canary"},
        "annotations": {"note": "x"},
    }
    assert workload == deployment("v2", 5)


def test_label_that_names_the_stable_deployment_fits_a_label() -> None:
    """A Deployment's name may be longer than a label's value."""
    workload = deployment("v2", 5)
    workload["metadata"]["name"] = "a" * 62 + "-b"

    assert canary(workload)["metadata"]["labels"][names.CANARY_DEPLOYMENT] == "a" * 62


LOAD_BALANCER = {
    "type": "LoadBalancer",
    "loadBalancerIP": "1.2.3.4",
    "loadBalancerClass": "example.com/internal",
    "loadBalancerSourceRanges": ["10.0.0.0/8"],
    "allocateLoadBalancerNodePorts": True,
    "externalTrafficPolicy": "Local",
    "healthCheckNodePort": 31000,
}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"type": "ClusterIP"}, {"type": "ClusterIP"}),
        (
            {"type": "NodePort", "externalTrafficPolicy": "Local"},
            {"type": "NodePort", "externalTrafficPolicy": "Local"},
        ),
        (LOAD_BALANCER, {"type": "NodePort", "externalTrafficPolicy": "Local"}),
        ({**LOAD_BALANCER, "allocateLoadBalancerNodePorts": False}, {"type": "ClusterIP"}),
        ({"publishNotReadyAddresses": True, "internalTrafficPolicy": "Local"}, {}),
    ],
)
def test_canary_service_has_no_load_balancer(given: dict[str, Any], made: dict[str, Any]) -> None:
    """It is reached through routes, by node ports where the stable one is; it takes no address of others."""
    stable = service()
    stable["spec"] |= given
    rendered = manifests.canary_service(stable, "fresh", PodTemplatePatch(), OWNER)["spec"]

    assert {key: value for key, value in rendered.items() if key not in {"ports", "selector"}} == made


def test_canary_service_is_given_no_name_by_others() -> None:
    """A DNS name that leads to the Service's pods would lead to the canary's too, approved or not."""
    stable = service()
    stable["metadata"]["annotations"] = {
        "external-dns.alpha.kubernetes.io/hostname": "web.example.com",
        "consul.hashicorp.com/service-name": "web",
        "cloud.google.com/app-protocols": '{"http":"HTTP2"}',
    }
    made = manifests.canary_service(stable, "fresh", PodTemplatePatch(), OWNER)

    assert made["metadata"]["annotations"] == {"cloud.google.com/app-protocols": '{"http":"HTTP2"}'}


def test_canary_service_selects_one_revision_and_takes_no_address() -> None:
    """Ports and type are the stable one's; what the API server allots to one Service alone is not copied."""
    stable = service()
    stable["spec"] |= {
        "type": "NodePort",
        "clusterIP": "10.0.0.1",
        "clusterIPs": ["10.0.0.1"],
        "ipFamilies": ["IPv4"],
        "externalIPs": ["1.2.3.4"],
        "healthCheckNodePort": 31000,
        "sessionAffinity": "ClientIP",
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
        "selector": {"app": "web", names.POD_TEMPLATE_HASH: "stable"},
    }
    patch = PodTemplatePatch(labels={"app": "web-canary", "track": "canary"})
    made = manifests.canary_service(stable, "fresh", patch, OWNER)

    assert made["metadata"]["name"] == "web-canary"
    assert made["metadata"]["ownerReferences"] == [OWNER]
    assert made["spec"] == {
        "type": "NodePort",
        "sessionAffinity": "ClientIP",
        "ports": [{"name": "http", "port": 80}],
        # A patched label is followed where the stable Service selects by it, and only there.
        "selector": {"app": "web-canary", names.POD_TEMPLATE_HASH: "fresh"},
    }


def test_deadline_begins_with_the_first_pods() -> None:
    """Kubernetes forgets the deadline of a Deployment that was complete once, and without pods it is."""
    workload = deployment("v2", 5)
    workload["spec"]["progressDeadlineSeconds"] = 3

    assert canary(workload)["spec"]["progressDeadlineSeconds"] == 2147483647
    assert manifests.canary_size(workload, 2) == {"spec": {"replicas": 2, "progressDeadlineSeconds": 3}}
