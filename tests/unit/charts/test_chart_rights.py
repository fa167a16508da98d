"""What each process may do in a cluster: a list, kept by hand, of every right and no other."""

from collections.abc import Iterator

import pytest

from tests.unit.charts.rendered_chart import NAMESPACE, JsonObject, render, the

READ = "get list watch"
READ_PATCH = f"{READ} patch"
GUARD = f"{READ} patch delete"

Right = tuple[str, str, str]
"""API group and resource, names ("*" for any), one verb."""

ALLOWED: dict[tuple[str, str], dict[tuple[str, str], str]] = {
    ("ClusterRole", "sluice-webhook"): {
        ("rollouts.kruise.io/rollouts", "*"): READ,
        ("rollouts.kruise.io/trafficroutings", "*"): READ,
        (
            "admissionregistration.k8s.io/mutatingwebhookconfigurations",
            "sluice-mutating",
        ): READ_PATCH,
        (
            "admissionregistration.k8s.io/validatingwebhookconfigurations",
            "sluice-validating",
        ): READ_PATCH,
        (
            "apiextensions.k8s.io/customresourcedefinitions",
            "rollouts.rollouts.kruise.io",
        ): READ_PATCH,
    },
    ("Role", "sluice-webhook"): {
        ("/secrets", "sluice-webhook-certs"): READ_PATCH,
        ("apps/deployments", "sluice-webhook"): "get",
        ("/secrets", "*"): "create",
    },
    ("ClusterRole", "sluice-reconciler"): {
        ("rollouts.kruise.io/rollouts", "*"): READ_PATCH,
        ("rollouts.kruise.io/rollouts/status", "*"): "get patch",
        ("rollouts.kruise.io/rollouts/finalizers", "*"): "update",
        ("rollouts.kruise.io/trafficroutings", "*"): READ_PATCH,
        ("rollouts.kruise.io/trafficroutings/status", "*"): "get patch",
        ("apps/deployments", "*"): f"{READ} create patch delete",
        ("apps/replicasets", "*"): f"{READ_PATCH} delete",
        ("/pods", "*"): READ_PATCH,
        ("/services", "*"): f"{READ_PATCH} create delete",
        ("discovery.k8s.io/endpointslices", "*"): READ,
        ("networking.k8s.io/ingresses", "*"): f"{READ_PATCH} create delete",
        ("gateway.networking.k8s.io/httproutes", "*"): READ_PATCH,
        ("networking.istio.io/virtualservices", "*"): READ_PATCH,
        ("networking.istio.io/destinationrules", "*"): READ_PATCH,
        ("events.k8s.io/events", "*"): "create patch",
        ("/namespaces", NAMESPACE): READ,
        ("admissionregistration.k8s.io/mutatingwebhookconfigurations", "sluice-mutating"): f"{READ} delete",
        (
            "admissionregistration.k8s.io/validatingwebhookconfigurations",
            "sluice-validating",
        ): f"{READ} delete",
        ("apiextensions.k8s.io/customresourcedefinitions", "rollouts.rollouts.kruise.io"): "get patch",
        ("rbac.authorization.k8s.io/clusterroles", "sluice-reconciler"): GUARD,
        ("rbac.authorization.k8s.io/clusterrolebindings", "sluice-reconciler"): GUARD,
        ("rbac.authorization.k8s.io/clusterroles", "sluice-webhook"): "get patch",
        ("rbac.authorization.k8s.io/clusterrolebindings", "sluice-webhook"): "get patch",
        ("rbac.authorization.k8s.io/clusterroles/finalizers", "sluice-reconciler"): "update",
    },
    ("Role", "sluice-reconciler"): {
        ("coordination.k8s.io/leases", "sluice-reconciler"): READ_PATCH,
        ("coordination.k8s.io/leases", "*"): "create",
        ("/configmaps", "kruise-rollout-configuration"): READ,
        ("/serviceaccounts", "sluice-reconciler"): GUARD,
        ("/serviceaccounts/finalizers", "sluice-reconciler"): "update",
        ("rbac.authorization.k8s.io/roles", "sluice-reconciler"): GUARD,
        ("rbac.authorization.k8s.io/rolebindings", "sluice-reconciler"): GUARD,
        ("rbac.authorization.k8s.io/roles/finalizers", "sluice-reconciler"): "update",
    },
}

ROLES = {"ClusterRole": "ClusterRoleBinding", "Role": "RoleBinding"}


def _rights(role: JsonObject) -> Iterator[Right]:
    for rule in role["rules"]:
        assert rule.keys() <= {"apiGroups", "resources", "resourceNames", "verbs"}
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", ["*"]):
                    yield from ((f"{group}/{resource}", name, verb) for verb in rule["verbs"])


@pytest.mark.parametrize(("kind", "name"), ALLOWED)
def test_a_role_grants_what_is_listed_and_nothing_else(kind: str, name: str) -> None:
    """A right that appears or disappears is a decision, made here as well as in the chart."""
    listed = {
        (resource, only, verb)
        for (resource, only), verbs in ALLOWED[kind, name].items()
        for verb in verbs.split()
    }

    assert set(_rights(the(kind, name))) == listed


def test_there_is_no_role_beyond_those_listed() -> None:
    """A new role has to be listed."""
    found = {(item["kind"], item["metadata"]["name"]) for item in render() if item["kind"] in ROLES}

    assert found == ALLOWED.keys()


def test_no_rule_has_a_wildcard() -> None:
    """Neither groups, resources nor verbs: what a later Kubernetes adds is not granted unseen."""
    for kind, name in ALLOWED:
        for rule in the(kind, name)["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


@pytest.mark.parametrize(("kind", "name"), ALLOWED)
def test_a_role_is_bound_to_its_own_process_only(kind: str, name: str) -> None:
    """Each binding has one subject, the ServiceAccount of the same name, and never a built-in role."""
    binding = the(ROLES[kind], name)

    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]


def test_there_is_no_binding_beyond_those_of_the_roles() -> None:
    """Nothing of ours is cluster-admin."""
    found = {(item["kind"], item["metadata"]["name"]) for item in render() if item["kind"] in ROLES.values()}

    assert found == {(ROLES[kind], name) for kind, name in ALLOWED}


def test_secrets_are_readable_by_the_webhook_and_by_name_only() -> None:
    """A list of all Secrets is the right that an intruder looks for first."""
    readers = {
        (name, only)
        for kind, name in ALLOWED
        for resource, only, verb in _rights(the(kind, name))
        if resource == "/secrets" and verb != "create"
    }

    assert readers == {("sluice-webhook", "sluice-webhook-certs")}
