"""What the chart puts into a cluster as a whole, and how it is taken out again."""

from collections import Counter

import pytest

from tests.unit.charts.rendered_chart import NAMESPACE, JsonObject, render, render_text, the

CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
}
GUARDED = {
    ("Deployment", "sluice-reconciler"): ("ClusterRole", "deployments", None),
    ("ServiceAccount", "sluice-reconciler"): ("Role", "serviceaccounts", "sluice-reconciler"),
    ("ClusterRole", "sluice-reconciler"): ("ClusterRole", "clusterroles", "sluice-reconciler"),
    ("ClusterRoleBinding", "sluice-reconciler"): ("ClusterRole", "clusterrolebindings", "sluice-reconciler"),
    ("Role", "sluice-reconciler"): ("Role", "roles", "sluice-reconciler"),
    ("RoleBinding", "sluice-reconciler"): ("Role", "rolebindings", "sluice-reconciler"),
}
"""What the reconciler holds on to while it leaves, and where it is granted the right to."""


def test_two_renders_are_equal() -> None:
    """The output is a function of the values: GitOps tools see no drift."""
    assert render_text() == render_text()


def test_every_object_exists_once_in_the_release_namespace() -> None:
    """No name twice, no namespace written into a template."""
    names = Counter((item["kind"], item["metadata"]["name"]) for item in render())
    namespaces = {
        item["metadata"].get("namespace") for item in render() if item["kind"] not in CLUSTER_SCOPED
    }

    assert [name for name, count in names.items() if count > 1] == []
    assert namespaces == {NAMESPACE}
    # The one name of theirs: the ConfigMap in which users keep their scripts.
    assert "kruise-rollout" not in render_text().replace("kruise-rollout-configuration", "")


def test_every_object_says_that_it_is_ours() -> None:
    """One label finds all of it."""
    unlabelled = [
        item["metadata"]["name"]
        for item in render()
        if item["metadata"].get("labels", {}).get("app.kubernetes.io/name") != "sluice"
    ]

    assert unlabelled == []


def test_no_manifest_declares_a_finalizer() -> None:
    """The reconciler sets its own once it runs: an install that never ran can be deleted freely."""
    assert [item["metadata"]["name"] for item in render() if "finalizers" in item["metadata"]] == []


@pytest.mark.parametrize("guarded", GUARDED)
def test_the_reconciler_may_hold_on_to_what_it_needs_for_leaving(guarded: tuple[str, str]) -> None:
    """Process, identity and rights: each exists and may be patched by the reconciler."""
    kind, resource, only = GUARDED[guarded]

    assert the(*guarded)
    rules = [rule for rule in the(kind, "sluice-reconciler")["rules"] if resource in rule["resources"]]
    assert any(
        {"get", "watch", "patch", "delete"} <= set(rule["verbs"])
        and rule.get("resourceNames", [None]) == [only]
        for rule in rules
    )


def test_leaving_is_a_hook_that_acts_as_the_reconciler() -> None:
    """The gate opens for that identity alone; a failed Job stays readable until the next attempt."""
    job = the("Job", "sluice-leave")
    [container] = job["spec"]["template"]["spec"]["containers"]

    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
    assert (
        job["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
    )
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == "sluice-reconciler"
    assert container["command"] == ["python", "-m", "reconciler", "leave"]


def test_leaving_gives_up_before_helm_does() -> None:
    """Helm's default timeout is 300 s; the Job ends earlier, with a message of its own."""
    assert the("Job", "sluice-leave")["spec"]["activeDeadlineSeconds"] < 300


def test_leaving_can_be_left_to_the_finalizers() -> None:
    """Without the hook no Job is rendered; neither is it for those who render without hooks."""
    kinds = {item["kind"] for item in render({"leaving": {"hook": False}})}

    assert "Job" not in kinds
    assert "kind: Job" not in render_text({}, "--no-hooks")


def test_a_namespace_that_is_deleted_waits_for_the_releases_to_end() -> None:
    """Its pods are stopped first of all: their grace period is all the time there is."""
    spec = the("Deployment", "sluice-reconciler")["spec"]["template"]["spec"]

    assert spec["terminationGracePeriodSeconds"] >= 300


def test_the_processes_agree_about_who_the_reconciler_is() -> None:
    """The webhook is told the very identity that the reconciler's pods have."""
    [webhook] = the("Deployment", "sluice-webhook")["spec"]["template"]["spec"]["containers"]
    account = the("Deployment", "sluice-reconciler")["spec"]["template"]["spec"]["serviceAccountName"]

    assert f"--reconciler-username=system:serviceaccount:{NAMESPACE}:{account}" in webhook["args"]


def test_optional_objects_are_off_by_default() -> None:
    """A NetworkPolicy, or a PodMonitor whose CRD may not exist, is only for who asks for it."""
    extra = {"networkPolicy": {"enabled": True}, "metrics": {"podMonitor": {"enabled": True}}}

    added = {item["kind"] for item in render(extra)} - {item["kind"] for item in render()}

    assert added == {"NetworkPolicy", "PodMonitor"}


@pytest.mark.parametrize(
    "listed", [[], [{"apiGroups": ["a.example.com", "b"], "resources": ["lanes"]}]], ids=["none", "some"]
)
def test_the_webhook_is_asked_about_the_custom_kinds_that_the_reconciler_may_change(
    listed: list[JsonObject],
) -> None:
    """One list for both: what is changed by asking must be heard, and nothing else is listened to."""
    hooks = the("MutatingWebhookConfiguration", "sluice-mutating", {"customNetworkResources": listed})
    rules = [
        {key: rule[key] for key in ("apiGroups", "resources")}
        for hook in hooks["webhooks"]
        if hook["name"] == "custom-routes.sluice.dev"
        for rule in hook["rules"]
    ]

    assert rules == listed
