"""Rollouts and Services on the real API server: approvals, plans, versions, pins, who is never asked."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest_asyncio

from sandbox import manifests
from sandbox.cluster import Cluster
from sandbox.names import JsonObject
from tests.cluster.webhook_alone import RECONCILER, Webhook, webhook_alone

NAME = manifests.NAME
MUTATE, VALIDATE, SERVICES = "/mutate/rollouts", "/validate/rollouts", "/mutate/services"
APPROVE, STAMP, PIN = "sluice.dev/approve", "sluice.dev/approved-by", "sluice.dev/pin"
APPROVERS = "release-managers"
AS_RECONCILER = (f"--as={RECONCILER}", "--as-group=system:masters")
AS_JANE = ("--as=jane", "--as-group=system:masters")
AS_APPROVER = (*AS_JANE, f"--as-group={APPROVERS}")
CANARY = {
    "canaryRevision": "bcdfgbcdfg-k4x9d",
    "canaryReplicas": 1,
    "canaryReadyReplicas": 1,
    "currentStepIndex": 1,
    "currentStepState": "StepPaused",
    "podTemplateHash": "",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def webhook(cluster: Cluster) -> AsyncIterator[Webhook]:
    """Run one webhook, with an allow-list of approvers and the contract's old limits, for all tests here."""
    limits = ("--single-traffic-routing=true", "--partition-percent-limit=30")
    async with webhook_alone(cluster, f"--approver-groups={APPROVERS}", *limits) as running:
        yield running


async def waiting(cluster: Cluster, namespace: str) -> None:
    """Create a Rollout whose release waits at its first step; the reconciler's status is written by hand."""
    await cluster.create("rollouts", namespace, manifests.rollout())
    status = {"phase": "Progressing", "canaryStatus": CANARY}
    await patch_status(cluster, namespace, status, *AS_RECONCILER)


async def patch_status(cluster: Cluster, namespace: str, status: JsonObject, *identity: str) -> str:
    """Merge into the status; return what kubectl said on standard error."""
    patch = json.dumps({"status": status})
    target = ("patch", "rollout", NAME, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    return (await cluster.kubectl(*target, *identity, check=False)).stderr


async def annotate(cluster: Cluster, namespace: str, *arguments: str) -> str:
    """Annotate the Rollout; return what kubectl said on standard error."""
    target = ("annotate", "rollout", NAME, "-n", namespace, "--overwrite")
    return (await cluster.kubectl(*target, *arguments, check=False)).stderr


async def annotations(cluster: Cluster, resource: str, namespace: str) -> dict[str, str]:
    """Read an object's annotations."""
    found = await cluster.get(resource, namespace, NAME)
    assert found is not None
    values: dict[str, str] = found["metadata"].get("annotations", {})
    return values


async def test_approval_is_stamped_and_cannot_be_forged(
    webhook: Webhook, cluster: Cluster, namespace: str
) -> None:
    """By name and time of the request; GitOps may put the same value again."""
    await waiting(cluster, namespace)
    calls = await webhook.calls(MUTATE)

    said = await annotate(cluster, namespace, f"{APPROVE}=k4x9d/1", f"{STAMP}=boss", *AS_APPROVER)

    stamp = (await annotations(cluster, "rollouts", namespace))[STAMP]
    assert said == ""
    assert json.loads(stamp)["user"] == "jane"
    await annotate(cluster, namespace, f"{STAMP}=boss", "note=1")
    assert (await annotations(cluster, "rollouts", namespace))[STAMP] == stamp
    await annotate(cluster, namespace, f"{APPROVE}-", *AS_JANE)
    assert STAMP not in await annotations(cluster, "rollouts", namespace)
    assert await webhook.calls(MUTATE) == calls + 3


async def test_malformed_approval_is_denied_with_the_right_one(
    webhook: Webhook, cluster: Cluster, namespace: str
) -> None:
    """In the terminal of who tried."""
    await waiting(cluster, namespace)

    said = await annotate(cluster, namespace, f"{APPROVE}=true", *AS_APPROVER)

    assert 'Invalid value: "true": must be <release>/<step>' in said
    assert f"kubectl annotate rollout {NAME} -n {namespace} {APPROVE}=k4x9d/1 --overwrite" in said
    assert await webhook.calls(VALIDATE) > 0


async def test_allow_list_holds_for_annotation_and_status(
    webhook: Webhook, cluster: Cluster, namespace: str
) -> None:
    """kubectl-kruise's request counts as an approval, and needs the same right."""
    await waiting(cluster, namespace)
    ready = {"canaryStatus": {"currentStepState": "StepReady"}}

    assert 'user "jane" may not approve' in await annotate(cluster, namespace, f"{APPROVE}=k4x9d/1", *AS_JANE)
    assert 'user "jane" may not approve' in await patch_status(cluster, namespace, ready, *AS_JANE)
    assert await patch_status(cluster, namespace, ready, *AS_APPROVER) == ""
    assert await webhook.calls(VALIDATE) > 0


async def test_reconciler_writes_status_without_us(
    webhook: Webhook, cluster: Cluster, namespace: str
) -> None:
    """Nor are we asked about metadata: a finalizer comes off while every webhook pod is down."""
    await waiting(cluster, namespace)
    calls = await webhook.calls(VALIDATE), await webhook.calls(MUTATE)

    moved = {"phase": "Healthy", "canaryStatus": {"currentStepIndex": 0, "currentStepState": "Completed"}}
    await patch_status(cluster, namespace, moved, *AS_RECONCILER)
    await patch_status(cluster, namespace, {"message": "hello"})
    await annotate(cluster, namespace, "note=1")
    for finalizers in (["rollouts.kruise.io/rollout"], []):
        await cluster.patch("rollouts", namespace, NAME, {"metadata": {"finalizers": finalizers}})

    assert (await webhook.calls(VALIDATE), await webhook.calls(MUTATE)) == calls


async def test_bad_plans_are_denied_in_both_versions(
    webhook: Webhook, cluster: Cluster, namespace: str
) -> None:
    """With the messages that users of this API know."""
    beta: Any = manifests.rollout()
    beta["spec"]["strategy"]["canary"]["steps"] = []
    alpha: Any = manifests.rollout_v1alpha1()
    alpha["spec"]["strategy"]["canary"]["steps"] = [{"weight": 200}]

    for value, message in ((beta, "The number of Canary.Steps cannot be empty"), (alpha, "weight")):
        said = await cluster.kubectl(
            "apply", "-n", namespace, "-f", "-", stdin=json.dumps(value), check=False
        )

        assert said.returncode != 0
        assert "Invalid value" in said.stderr
        assert message in said.stderr
    await cluster.create("rollouts.kruise.io/v1alpha1/rollouts", namespace, manifests.rollout_v1alpha1())
    assert await webhook.calls("/convert") > 0


_OTHER_ROUTING = {"service": "other", "ingress": {"name": "other"}}
_PARTITION = {"rollouts.kruise.io/rolling-style": "partition"}


def _limited() -> Iterator[tuple[JsonObject, str]]:
    """Yield what is allowed unless a limit has been set, and what is said of it then."""
    two: Any = manifests.rollout()
    two["spec"]["strategy"]["canary"]["trafficRoutings"].append(_OTHER_ROUTING)
    yield two, "Rollout currently only support single TrafficRouting."
    share: Any = manifests.rollout(weight=40)
    del share["spec"]["strategy"]["canary"]["enableExtraWorkloadForCanary"]
    message = (
        "For partition style rollout: step[x].replicas must not greater than "
        "partition-percent-limit if traffic specified"
    )
    yield share, message
    for step, ending in (
        (
            {"weight": 40},
            "weight must not greater than replicasLimitWithTraffic if replicas is not specified",
        ),
        (
            {"weight": 10, "replicas": "40%"},
            "replicas must not greater than replicasLimitWithTraffic if traffic or matches specified",
        ),
    ):
        alpha: Any = manifests.rollout_v1alpha1()
        alpha["metadata"]["annotations"] = _PARTITION
        alpha["spec"]["strategy"]["canary"]["steps"] = [step]
        yield alpha, f"For patition style rollout: step[x].{ending}"


async def test_limits_that_were_set_are_kept(webhook: Webhook, cluster: Cluster, namespace: str) -> None:
    """One routing, and no more pods with traffic than so many: with the messages that users know."""
    for value, message in _limited():
        said = await cluster.kubectl(
            "apply", "-n", namespace, "-f", "-", stdin=json.dumps(value), check=False
        )

        assert said.returncode != 0
        assert message in said.stderr
    assert await webhook.calls(VALIDATE) > 0


async def test_pin_and_selector_change_in_one_write(
    webhook: Webhook, cluster: Cluster, namespace: str
) -> None:
    """Set by the reconciler's annotation, kept under server-side apply and replace, gone with it."""
    value = manifests.service()
    wide, pinned = {"app": NAME}, {"app": NAME, "pod-template-hash": "abc"}
    routed: Any = manifests.rollout()
    await cluster.create("rollouts", namespace, routed)
    apply = ("apply", "--server-side", "-n", namespace, "-f", "-")
    await cluster.kubectl(*apply, stdin=json.dumps(value))
    annotate_service = ("annotate", "service", NAME, "-n", namespace, "--overwrite")

    async with cluster.record("services", namespace, NAME) as record:
        await cluster.kubectl(*annotate_service, f"{PIN}=abc", *AS_RECONCILER)
        await cluster.kubectl(*apply, stdin=json.dumps(value))
        await cluster.kubectl("replace", "-n", namespace, "-f", "-", stdin=json.dumps(value))
        said = await cluster.kubectl(*annotate_service, f"{PIN}-")
    selectors = [each["spec"]["selector"] for each in record.objects]
    assert selectors.index(pinned) <= 1
    assert all(each == pinned for each in selectors[selectors.index(pinned) :])
    assert "stays pinned" in said.stderr
    status = ("patch", "service", NAME, "-n", namespace, "--subresource=status", "--type=merge", "-p")
    change = json.dumps({"metadata": {"annotations": {PIN: None}}})
    refused = await cluster.kubectl(*status, change, check=False)
    assert f"{PIN} cannot be changed through /status" in refused.stderr
    kept = await cluster.kubectl(*annotate_service, "sluice.dev/pinned-by=other", "sluice.dev/release=zzzzz")
    assert "stays pinned" in kept.stderr
    assert not {"other", "zzzzz"} & set((await annotations(cluster, "services", namespace)).values())
    calls = await webhook.calls(SERVICES)
    await cluster.kubectl(*status, json.dumps({"metadata": {"annotations": {"note": "1"}}}))
    await cluster.kubectl("label", "service", NAME, "-n", namespace, "team=shop")
    assert await webhook.calls(SERVICES) == calls

    await cluster.kubectl(*annotate_service, f"{PIN}-", *AS_RECONCILER)

    found = await cluster.get("services", namespace, NAME)
    assert found is not None
    assert found["spec"]["selector"] == wide
    await cluster.kubectl(*apply, stdin=json.dumps(value))
    assert await webhook.calls(SERVICES) == calls + 1


async def test_labelled_deployment_of_a_vanished_rollout_is_given_back(
    webhook: Webhook, cluster: Cluster, namespace: str
) -> None:
    """The live read finds no Rollout: a warning says how to resume, and resuming takes all of ours away."""
    value: Any = manifests.deployment(replicas=1)
    value["metadata"]["labels"]["rollouts.kruise.io/workload-type"] = "deployment"
    await cluster.create("deployments", namespace, value)
    target = ("-n", namespace, f"deployment/{NAME}")
    holder = {"rollouts.kruise.io/in-progressing": '{"rolloutName":"gone"}'}
    closing = json.dumps({"metadata": {"annotations": holder}, "spec": {"paused": True}})
    await cluster.kubectl("patch", *target, "--type=merge", "-p", closing, *AS_RECONCILER)

    said = await cluster.kubectl("set", "image", *target, f"{NAME}={manifests.CANARY_IMAGE}")
    await cluster.kubectl("rollout", "resume", *target)

    assert f"kubectl rollout resume deployment/{NAME}" in said.stderr
    assert "rollouts.kruise.io/in-progressing" not in await annotations(cluster, "deployments", namespace)
    assert await webhook.calls("/mutate/deployments") > 0
