"""What the chart's pods look like: safe by themselves, spread out, replaced without a gap."""

from typing import Any

import pytest

from reconciler.settings import ReconcilerSettings
from runtime.settings import load
from tests.unit.charts.rendered_chart import NAMESPACE, RenderError, pod_templates, render, render_text, the
from webhook.settings import WebhookSettings

PROCESSES = ("webhook", "reconciler")


def test_everything_that_starts_pods_is_known() -> None:
    """Two Deployments and the Job of leaving: the checks below cover all there is."""
    names = {name for name, _ in pod_templates()}

    assert names == {"sluice-webhook", "sluice-reconciler", "sluice-leave"}


def test_every_pod_meets_the_restricted_standard() -> None:
    """Pod level: not root, by number, with the runtime's seccomp profile, nothing of the host."""
    for _, template in pod_templates():
        spec = template["spec"]

        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        assert all("hostPath" not in volume for volume in spec.get("volumes", ()))


def test_every_container_gives_up_every_privilege() -> None:
    """Container level: no escalation, no capability, no writable root, a memory limit, no host port."""
    for _, template in pod_templates():
        for container in template["spec"]["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "privileged": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            }
            assert container["resources"]["limits"]["memory"]
            assert all("hostPort" not in port for port in container.get("ports", ()))


def test_a_token_is_mounted_by_our_pods_only() -> None:
    """Another pod that names one of our ServiceAccounts gets no token unless it asks for one."""
    accounts = [item for item in render() if item["kind"] == "ServiceAccount"]

    assert len(accounts) == 2
    assert all(item["automountServiceAccountToken"] is False for item in accounts)
    assert all(template["spec"]["automountServiceAccountToken"] for _, template in pod_templates())


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_is_probed_where_it_serves(process: str) -> None:
    """Readiness waits for caches and is asked apart from liveness, which restarts."""
    [container] = the("Deployment", f"sluice-{process}")["spec"]["template"]["spec"]["containers"]

    asked = {kind: container[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert asked == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }
    assert {"name": "http", "containerPort": 8080, "protocol": "TCP"} in container["ports"]


@pytest.mark.parametrize("process", PROCESSES)
def test_an_update_starts_the_successor_first(process: str) -> None:
    """Two replicas by default, and never fewer ready than before."""
    spec = the("Deployment", f"sluice-{process}")["spec"]

    assert spec["replicas"] == 2
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }


def test_a_stopping_webhook_keeps_answering_before_it_is_killed() -> None:
    """The process itself drains, so that it can send its callers elsewhere, and has the time for it."""
    spec = the("Deployment", "sluice-webhook")["spec"]["template"]["spec"]
    container = spec["containers"][0]

    drain = next(each for each in container["args"] if each.startswith("--drain-seconds="))
    assert 0 < int(drain.partition("=")[2]) < spec["terminationGracePeriodSeconds"]
    assert "lifecycle" not in container


def test_a_drain_longer_than_the_grace_period_is_refused() -> None:
    """The render fails and says which two values contradict each other."""
    with pytest.raises(
        RenderError, match=r"terminationGracePeriodSeconds must be longer than webhook\.drain"
    ):
        render({"webhook": {"drainSeconds": 20, "terminationGracePeriodSeconds": 20}})


def test_drain_can_be_set_on_the_command_line() -> None:
    """Helm reads a number from --set and one from a values file as different types."""
    assert "--drain-seconds=7" in render_text({}, "--set", "webhook.drainSeconds=7")


@pytest.mark.parametrize("process", PROCESSES)
def test_replicas_of_a_process_avoid_each_other(process: str) -> None:
    """By node and by zone, softly by default, so that one node is enough to install on."""
    deployment = the("Deployment", f"sluice-{process}")
    spec = deployment["spec"]["template"]["spec"]
    own = deployment["spec"]["selector"]

    [term] = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"] == {"topologyKey": "kubernetes.io/hostname", "labelSelector": own}
    assert spec["topologySpreadConstraints"] == [
        {
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": own,
        }
    ]


def test_replicas_can_be_kept_apart_strictly() -> None:
    """``required`` makes the rule hard, ``none`` removes it."""
    strict = the("Deployment", "sluice-webhook", {"webhook": {"antiAffinity": "required"}})
    free = the("Deployment", "sluice-webhook", {"webhook": {"antiAffinity": "none"}})

    [term] = strict["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert "affinity" not in free["spec"]["template"]["spec"]


@pytest.mark.parametrize("process", PROCESSES)
def test_a_node_drain_takes_one_replica_at_a_time(process: str) -> None:
    """The disruption budget selects exactly the pods of its process."""
    budget = the("PodDisruptionBudget", f"sluice-{process}")["spec"]
    deployment = the("Deployment", f"sluice-{process}")["spec"]

    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == deployment["selector"]


@pytest.mark.parametrize("process", PROCESSES)
def test_selectors_match_the_pods_whatever_labels_are_added(process: str) -> None:
    """A user's pod label cannot take a pod out of its own Deployment."""
    values = {process: {"podLabels": {"team": "delivery"}}}

    spec = the("Deployment", f"sluice-{process}", values)["spec"]

    labels = spec["template"]["metadata"]["labels"]
    assert labels["team"] == "delivery"
    assert spec["selector"]["matchLabels"].items() <= labels.items()


def test_the_service_reaches_the_webhook_alone() -> None:
    """Port 443 goes to the container port named https."""
    service = the("Service", "sluice-webhook")["spec"]
    deployment = the("Deployment", "sluice-webhook")["spec"]
    [container] = deployment["template"]["spec"]["containers"]

    assert service["selector"] == deployment["selector"]["matchLabels"]
    assert [(port["port"], port["targetPort"]) for port in service["ports"]] == [(443, "https")]
    assert {"name": "https", "containerPort": 9443, "protocol": "TCP"} in container["ports"]


def _placement(process: str) -> dict[str, Any]:
    return {
        "nodeSelector": {"pool": process},
        "tolerations": [{"key": "control", "operator": "Exists"}],
        "priorityClassName": "system-cluster-critical",
        "extraArgs": ["--log-format=text"],
    }


@pytest.mark.parametrize("process", PROCESSES)
def test_a_user_decides_where_a_process_runs(process: str) -> None:
    """Node selector, tolerations, priority, pull secrets, image digest and further flags arrive."""
    digest = "sha256:" + "0" * 64
    values = {
        "image": {"repository": "registry.example.com/sluice", "tag": "ignored", "digest": digest},
        "imagePullSecrets": [{"name": "pull"}],
        process: _placement(process),
    }

    spec = the("Deployment", f"sluice-{process}", values)["spec"]["template"]["spec"]

    assert spec["nodeSelector"] == {"pool": process}
    assert spec["tolerations"] == [{"key": "control", "operator": "Exists"}]
    assert spec["priorityClassName"] == "system-cluster-critical"
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["containers"][0]["image"] == f"registry.example.com/sluice@{digest}"
    assert spec["containers"][0]["args"][-1] == "--log-format=text"


def test_approver_groups_reach_the_webhook() -> None:
    """Groups are passed as one flag; without any, no flag limits who may approve."""
    limited = the("Deployment", "sluice-webhook", {"webhook": {"approverGroups": ["release team", "sre"]}})
    [free] = the("Deployment", "sluice-webhook")["spec"]["template"]["spec"]["containers"]

    [container] = limited["spec"]["template"]["spec"]["containers"]
    assert "--approver-groups=release team,sre" in container["args"]
    assert not [flag for flag in free["args"] if flag.startswith("--approver-groups")]


@pytest.mark.parametrize(
    ("process", "settings"), [("webhook", WebhookSettings), ("reconciler", ReconcilerSettings)]
)
def test_a_process_understands_the_flags_it_is_started_with(
    process: str, settings: type[WebhookSettings | ReconcilerSettings]
) -> None:
    """The chart and the process's own settings agree about every flag and the form of its value."""
    values = {"webhook": {"approverGroups": ["sre"]}}
    [container] = the("Deployment", f"sluice-{process}", values)["spec"]["template"]["spec"]["containers"]
    arguments = [argument.replace("$(POD_NAMESPACE)", NAMESPACE) for argument in container["args"]]

    loaded = load(settings, arguments, {}, process)

    assert loaded.namespace == NAMESPACE
    assert loaded.http_port == 8080
