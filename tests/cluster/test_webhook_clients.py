"""Every kind of client closes the gate on the real API server, and none opens it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sandbox import manifests
from sandbox.cluster import Cluster
from sandbox.commands import Completed
from sandbox.names import JsonObject
from tests.cluster.webhook_alone import HOME, Webhook, webhook_alone

NAME = manifests.NAME
OLD, NEW = manifests.STABLE_IMAGE, manifests.CANARY_IMAGE
LABEL = "rollouts.kruise.io/workload-type"
HOLDER, RELEASE = "rollouts.kruise.io/in-progressing", "sluice.dev/release"
APPROVE, APPROVED_BY = "sluice.dev/approve", "sluice.dev/approved-by"
DEPLOYMENTS, SERVICES = "/mutate/deployments", "/mutate/services"

pytestmark = pytest.mark.usefixtures("webhook")

Change = Callable[[Cluster, str, Path], Awaitable[Completed]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def webhook(cluster: Cluster) -> AsyncIterator[Webhook]:
    """Run one webhook for the tests of this file."""
    async with webhook_alone(cluster) as running:
        yield running


def manifest(image: str = OLD, *, replicas: int = 2) -> str:
    """Write the Deployment as a user's file has it."""
    return json.dumps(manifests.deployment(image=image, replicas=replicas))


async def governed(cluster: Cluster, namespace: str, *apply_flags: str, labelled: bool = True) -> JsonObject:
    """Deploy the first version, with a Rollout; the label is the reconciler's work, done here by hand."""
    await cluster.create("rollouts", namespace, manifests.rollout())
    await cluster.kubectl("apply", *apply_flags, "-n", namespace, "-f", "-", stdin=manifest())
    if labelled:
        await cluster.kubectl("label", "-n", namespace, f"deployment/{NAME}", f"{LABEL}=deployment")
    return await cluster.wait_for("deployments", namespace, NAME, manifests.available(2))


async def stored(cluster: Cluster, namespace: str) -> JsonObject:
    """Read the Deployment."""
    found = await cluster.get("deployments", namespace, NAME)
    assert found is not None
    return found


def is_closed(deployment: JsonObject) -> bool:
    """Whether the gate is closed, with all that belongs to it."""
    annotations = deployment["metadata"].get("annotations", {})
    return (
        deployment["spec"].get("paused") is True
        and annotations.get(HOLDER) == f'{{"rolloutName":"{NAME}"}}'
        and len(annotations.get(RELEASE, "")) == 5
    )


def template_of(deployment: JsonObject) -> Any:
    """Return the pod template."""
    return deployment["spec"]["template"]


async def apply(cluster: Cluster, namespace: str, _: Path) -> Completed:
    """Change the image with kubectl apply."""
    return await cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest(NEW))


async def apply_server_side(cluster: Cluster, namespace: str, _: Path) -> Completed:
    """Change the image with kubectl apply --server-side."""
    flags = ("--server-side", "--force-conflicts")
    return await cluster.kubectl("apply", *flags, "-n", namespace, "-f", "-", stdin=manifest(NEW))


async def replace(cluster: Cluster, namespace: str, _: Path) -> Completed:
    """Change the image with kubectl replace: label and annotations go with it."""
    return await cluster.kubectl("replace", "-n", namespace, "-f", "-", stdin=manifest(NEW))


async def edit(cluster: Cluster, namespace: str, directory: Path) -> Completed:
    """Change the image with kubectl edit."""
    editor = directory / "editor"
    editor.write_text(f'#!/bin/sh\nsed -i "s|{OLD}|{NEW}|" "$1"\n')
    editor.chmod(0o755)
    return await cluster.run(
        "env", f"KUBE_EDITOR={editor}", "kubectl", "edit", "-n", namespace, f"deployment/{NAME}"
    )


async def patch(cluster: Cluster, namespace: str, _: Path) -> Completed:
    """Change the image with kubectl patch."""
    operation = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": NEW}]
    return await cluster.kubectl(
        "patch", "-n", namespace, f"deployment/{NAME}", "--type=json", "-p", json.dumps(operation)
    )


async def set_image(cluster: Cluster, namespace: str, _: Path) -> Completed:
    """Change the image with kubectl set image."""
    return await cluster.kubectl("set", "image", "-n", namespace, f"deployment/{NAME}", f"{NAME}={NEW}")


async def restart(cluster: Cluster, namespace: str, _: Path) -> Completed:
    """Change the template with kubectl rollout restart."""
    return await cluster.kubectl("rollout", "restart", "-n", namespace, f"deployment/{NAME}")


CLIENTS: list[Change] = [apply, apply_server_side, replace, edit, patch, set_image, restart]


@pytest.mark.parametrize("change", CLIENTS, ids=lambda change: change.__name__)
async def test_client_closes_the_gate(
    cluster: Cluster, namespace: str, change: Change, tmp_path: Path
) -> None:
    """In the write that brings the new template: no event ever shows one without the other."""
    first = await governed(cluster, namespace)

    async with cluster.record("deployments", namespace, NAME) as record:
        said = await change(cluster, namespace, tmp_path)

    assert record.objects
    for seen in record.objects:
        assert template_of(seen) == template_of(first) or is_closed(seen)
    last = await stored(cluster, namespace)
    assert template_of(last) != template_of(first)
    assert is_closed(last)
    assert last["metadata"]["labels"][LABEL] == "deployment"
    release = last["metadata"]["annotations"][RELEASE]
    assert f"Warning: held by Rollout {NAME}: this change starts release {release}" in said.stderr
    assert (
        f"kubectl annotate rollout {NAME} -n {namespace} sluice.dev/approve={release}/1 --overwrite"
        in said.stderr
    )
    assert len(await cluster.list("replicasets", namespace)) == 1


async def test_rollout_undo_closes_the_gate(cluster: Cluster, namespace: str) -> None:
    """Outside a release, going back is a release too."""
    await cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest())
    await cluster.wait_for("deployments", namespace, NAME, manifests.available(2))
    await cluster.kubectl("set", "image", "-n", namespace, f"deployment/{NAME}", f"{NAME}={NEW}")
    await cluster.kubectl("rollout", "status", "-n", namespace, f"deployment/{NAME}", "--timeout=60s")
    await cluster.create("rollouts", namespace, manifests.rollout())
    await cluster.kubectl("label", "-n", namespace, f"deployment/{NAME}", f"{LABEL}=deployment")

    await cluster.kubectl("rollout", "undo", "-n", namespace, f"deployment/{NAME}")

    last = await stored(cluster, namespace)
    assert template_of(last)["spec"]["containers"][0]["image"] == OLD
    assert is_closed(last)


async def test_helm_upgrade_closes_the_gate(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """Helm 4 applies server-side; an upgrade behind the closed gate goes through as well."""
    chart = tmp_path / "echo"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: echo\nversion: 0.1.0\n")
    text = (
        manifest()
        .replace(OLD, "{{ .Values.image }}")
        .replace('"replicas": 2', '"replicas": {{ .Values.replicas }}')
    )
    (chart / "templates" / "deployment.yaml").write_text(text)
    (chart / "values.yaml").write_text(f"image: {OLD}\nreplicas: 2\n")
    await cluster.create("rollouts", namespace, manifests.rollout())
    await cluster.helm("install", "echo", str(chart), "-n", namespace)
    await cluster.kubectl("label", "-n", namespace, f"deployment/{NAME}", f"{LABEL}=deployment")
    await cluster.wait_for("deployments", namespace, NAME, manifests.available(2))

    said = await cluster.helm("upgrade", "echo", str(chart), "-n", namespace, "--set", f"image={NEW}")

    first = await stored(cluster, namespace)
    assert is_closed(first)
    assert "held by Rollout" in said.stderr
    await cluster.helm("upgrade", "echo", str(chart), "-n", namespace, "--set", f"image={NEW},replicas=3")
    last = await stored(cluster, namespace)
    assert last["spec"]["replicas"] == 3
    assert is_closed(last)
    assert last["metadata"]["annotations"][RELEASE] == first["metadata"]["annotations"][RELEASE]


async def test_unlabelled_deployment_is_gated_before_its_label_lands(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """The lenient hook covers the moment after the Rollout is created, and labels."""
    await governed(cluster, namespace, labelled=False)

    await set_image(cluster, namespace, tmp_path)

    last = await stored(cluster, namespace)
    assert is_closed(last)
    assert last["metadata"]["labels"][LABEL] == "deployment"


async def resume(cluster: Cluster, namespace: str, _: Path) -> Completed:
    """Try to resume."""
    return await cluster.kubectl("rollout", "resume", "-n", namespace, f"deployment/{NAME}")


async def drop_annotations(cluster: Cluster, namespace: str, _: Path) -> Completed:
    """Try to remove the gate's annotations."""
    return await cluster.kubectl(
        "annotate", "-n", namespace, f"deployment/{NAME}", f"{HOLDER}-", f"{RELEASE}-"
    )


async def apply_unpaused(cluster: Cluster, namespace: str, _: Path) -> Completed:
    """Apply a manifest that says paused: false."""
    value = json.loads(manifest(NEW))
    value["spec"]["paused"] = False
    return await cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(value))


@pytest.mark.parametrize(
    "change", [resume, drop_annotations, apply_unpaused, replace], ids=lambda change: change.__name__
)
async def test_closed_gate_holds(cluster: Cluster, namespace: str, change: Change, tmp_path: Path) -> None:
    """Whoever tries to open it is told how to go on; not one event shows it open."""
    await governed(cluster, namespace)
    await set_image(cluster, namespace, tmp_path)
    before = await stored(cluster, namespace)

    async with cluster.record("deployments", namespace, NAME) as record:
        said = await change(cluster, namespace, tmp_path)

    assert all(is_closed(seen) for seen in record.objects)
    after = await stored(cluster, namespace)
    assert after["metadata"]["annotations"][RELEASE] == before["metadata"]["annotations"][RELEASE]
    assert after["metadata"]["labels"][LABEL] == "deployment"
    assert "held by Rollout" in said.stderr


async def test_reconciler_opens_the_gate_without_us(
    webhook: Webhook, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """Its write does not even reach the webhook: roll-back works while every webhook pod is down."""
    await governed(cluster, namespace)
    await set_image(cluster, namespace, tmp_path)
    calls = await webhook.calls(DEPLOYMENTS)
    opening = {"metadata": {"annotations": {HOLDER: None, RELEASE: None}}, "spec": {"paused": None}}

    await cluster.kubectl(
        *("patch", "-n", namespace, f"deployment/{NAME}", "--type=merge", "-p", json.dumps(opening)),
        *(f"--as=system:serviceaccount:{HOME}:sluice-reconciler", "--as-group=system:masters"),
    )

    last = await stored(cluster, namespace)
    assert last["spec"].get("paused", False) is False
    assert HOLDER not in last["metadata"]["annotations"]
    assert await webhook.calls(DEPLOYMENTS) == calls


async def test_dry_run_is_answered_as_a_real_run_and_changes_nothing(
    cluster: Cluster, namespace: str
) -> None:
    """The release id in a dry run is the one of the real run after it."""
    await governed(cluster, namespace)
    command = ("set", "image", "-n", namespace, f"deployment/{NAME}", f"{NAME}={NEW}")

    said = await cluster.kubectl(*command, "--dry-run=server", "-o", "json")

    assert not is_closed(await stored(cluster, namespace))
    await cluster.kubectl(*command)
    release = (await stored(cluster, namespace))["metadata"]["annotations"][RELEASE]
    assert json.loads(said.stdout)["metadata"]["annotations"][RELEASE] == release


async def test_webhook_is_not_called_for_what_cannot_matter(
    webhook: Webhook, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """Scale, status, labels, annotations, replicas, pausing by hand: the match conditions say no."""
    await governed(cluster, namespace)
    calls = await webhook.calls(DEPLOYMENTS)
    target = ("-n", namespace, f"deployment/{NAME}")

    await cluster.kubectl("scale", *target, "--replicas=3")
    await cluster.wait_for("deployments", namespace, NAME, manifests.available(3))
    await cluster.kubectl("label", *target, "team=shop")
    await cluster.kubectl("annotate", *target, "note=1")
    await cluster.kubectl("rollout", "pause", *target)
    await cluster.kubectl("rollout", "resume", *target)
    await cluster.kubectl("patch", *target, "-p", '{"spec":{"replicas":2,"minReadySeconds":1}}')
    await cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifest())
    await cluster.kubectl("autoscale", *target, "--min=2", "--max=3")

    assert await webhook.calls(DEPLOYMENTS) == calls
    await set_image(cluster, namespace, tmp_path)
    assert await webhook.calls(DEPLOYMENTS) > calls
    calls = await webhook.calls(DEPLOYMENTS)
    await cluster.kubectl("scale", *target, "--replicas=3")
    await cluster.kubectl("label", *target, "--overwrite", "team=other")
    await cluster.wait_for(
        "deployments", namespace, NAME, lambda seen: seen["status"].get("availableReplicas") == 3
    )
    assert await webhook.calls(DEPLOYMENTS) == calls


FORGED = {APPROVE: "k4x9d/1", APPROVED_BY: '{"approval":"k4x9d/1","user":"ceo","at":"2026-11-23T06:22:44Z"}'}


@pytest.mark.parametrize("labelled", [True, False], ids=["governed", "not labelled yet"])
@pytest.mark.parametrize(
    "annotations", [FORGED, {HOLDER: "", RELEASE: None}], ids=["forged approval", "opened gate"]
)
async def test_status_is_no_way_round_the_webhook(
    cluster: Cluster, namespace: str, tmp_path: Path, annotations: JsonObject, *, labelled: bool
) -> None:
    """The API server lets a write to /status change annotations: not these, whoever writes."""
    await governed(cluster, namespace)
    await set_image(cluster, namespace, tmp_path)
    if not labelled:
        await cluster.kubectl(
            *("label", "-n", namespace, f"deployment/{NAME}", f"{LABEL}-"),
            *(f"--as=system:serviceaccount:{HOME}:sluice-reconciler", "--as-group=system:masters"),
        )
    before = await stored(cluster, namespace)
    change = json.dumps({"metadata": {"annotations": annotations}})
    patching = ("patch", "-n", namespace, f"deployment/{NAME}", "--type=merge", "-p", change)

    said = await cluster.kubectl(*patching, "--subresource=status", check=False)

    assert said.returncode != 0
    assert "cannot be changed through /status" in said.stderr
    after = await stored(cluster, namespace)
    assert after["metadata"]["annotations"] == before["metadata"]["annotations"]


async def test_status_writes_of_controllers_do_not_reach_us(
    webhook: Webhook, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """Behind a closed gate as well, by whole object or by patch, with annotations of others."""
    await governed(cluster, namespace)
    await set_image(cluster, namespace, tmp_path)
    calls = await webhook.calls(DEPLOYMENTS)

    await cluster.kubectl("scale", "-n", namespace, f"deployment/{NAME}", "--replicas=3")
    await cluster.wait_for(
        "deployments", namespace, NAME, lambda seen: seen["status"].get("availableReplicas") == 3
    )
    change = json.dumps({"metadata": {"annotations": {"note": "1"}}, "status": {"collisionCount": 1}})
    patching = ("patch", "-n", namespace, f"deployment/{NAME}", "--type=merge", "-p", change)
    await cluster.kubectl(*patching, "--subresource=status")

    assert (await stored(cluster, namespace))["metadata"]["annotations"]["note"] == "1"
    assert await webhook.calls(DEPLOYMENTS) == calls


async def test_new_deployments_reach_us_only_with_our_annotations(
    webhook: Webhook, cluster: Cluster, namespace: str
) -> None:
    """What only a release writes is left out of them; nobody else's create depends on us."""
    calls = await webhook.calls(DEPLOYMENTS)
    value = json.loads(manifest())
    await cluster.create("deployments", namespace, value)
    value["metadata"] |= {"name": "planted", "annotations": {**FORGED, HOLDER: "{}", RELEASE: "k4x9d"}}
    value["spec"]["paused"] = True
    assert await webhook.calls(DEPLOYMENTS) == calls

    said = await cluster.kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(value))

    found = await cluster.get("deployments", namespace, "planted")
    assert found is not None
    assert not {HOLDER, RELEASE, APPROVED_BY} & found["metadata"].get("annotations", {}).keys()
    assert "paused" not in found["spec"]
    assert "left out of a new Deployment" in said.stderr
    assert await webhook.calls(DEPLOYMENTS) > calls


async def test_approval_planted_before_the_label_lands_gets_no_stamp_of_its_own(
    cluster: Cluster, namespace: str
) -> None:
    """The stamp names who wrote it, also on a Deployment that is not labelled yet."""
    await governed(cluster, namespace, labelled=False)
    pairs = [f"{key}={value}" for key, value in FORGED.items()]

    await cluster.kubectl("annotate", "-n", namespace, f"deployment/{NAME}", *pairs)

    annotations = (await stored(cluster, namespace))["metadata"]["annotations"]
    assert json.loads(annotations[APPROVED_BY])["user"] != "ceo"


async def test_large_template_costs_the_match_conditions_nothing(cluster: Cluster, namespace: str) -> None:
    """A template of a megabyte stays below the API server's limit for the cost of expressions."""
    value = json.loads(manifest())
    environment = [{"name": f"VARIABLE_{number}", "value": "x" * 1000} for number in range(1000)]
    value["spec"]["template"]["spec"]["containers"][0]["env"] += environment
    value["metadata"]["labels"][LABEL] = "deployment"
    await cluster.create("rollouts", namespace, manifests.rollout())
    await cluster.create("deployments", namespace, value)

    await cluster.patch("deployments", namespace, NAME, {"metadata": {"labels": {"team": "shop"}}})
    await cluster.patch(
        "deployments", namespace, NAME, {"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}
    )

    assert is_closed(await stored(cluster, namespace))
