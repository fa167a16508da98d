"""The resource definitions and the conversion behind them, on a real API server."""

import asyncio
import base64
import contextlib
import copy
import json
import ssl
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from aiohttp import web

from rollout import names
from sandbox import certificates
from sandbox.api import ApiError
from sandbox.cluster import Cluster
from sandbox.control_plane import Options
from tests.unit.rollout.recorded import whole_objects, writes
from tests.unit.rollout.rollout_objects import WORKLOAD, Json, alpha, beta
from webhook.conversion import answer

_DIRECTORY = Path(__file__).parents[2] / "charts" / "sluice" / "crds"
DEFINITIONS = [yaml.safe_load(path.read_text()) for path in sorted(_DIRECTORY.glob("*.yaml"))]
ALPHA, BETA = "rollouts.kruise.io/v1alpha1/rollouts", "rollouts.kruise.io/v1beta1/rollouts"
ROUTING = {"service": "echoserver", "ingress": {"name": "echoserver"}}


_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Run a cluster of its own with the definitions applied, converted by a server in this process."""
    authority = certificates.create_authority(tmp_path_factory.mktemp("conversion"), "conversion")
    async with _converting(authority) as url, Cluster(Options(ordinal=3, nodes=())) as running:
        bundle = base64.b64encode(authority.file.read_bytes()).decode()
        for definition in DEFINITIONS:
            applied = copy.deepcopy(definition)
            webhook = applied["spec"].get("conversion", {}).get("webhook")
            if webhook:
                webhook["clientConfig"] = {"url": url, "caBundle": bundle}
            await running.create("customresourcedefinitions", None, applied)
            name = definition["metadata"]["name"]
            await running.wait_for("customresourcedefinitions", None, name, _established)
            await _published(running, definition)
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def place(served: Cluster) -> str:
    """Create a namespace for one test; the cluster goes with the module."""
    name = f"crds-{next(_numbers)}"
    await served.create("namespaces", None, {"metadata": {"name": name}})
    return name


@contextlib.asynccontextmanager
async def _converting(authority: certificates.Authority) -> AsyncIterator[str]:
    """Serve conversion reviews; yield the URL."""

    async def convert(request: web.Request) -> web.Response:
        body, _ = await answer(await request.read())
        return web.Response(body=body, content_type="application/json")

    pair = authority.issue("server", "conversion", hosts=["127.0.0.1"])
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pair.certificate, pair.key)
    application = web.Application(client_max_size=64 * 2**20)
    application.router.add_post("/convert", convert)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}/convert"
    finally:
        await runner.cleanup()


async def _published(cluster: Cluster, definition: Json) -> None:
    """Wait for discovery and schema: they follow a moment after the definition is established."""
    async with asyncio.timeout(30):
        for version in definition["spec"]["versions"]:
            api = f"--api-version={definition['spec']['group']}/{version['name']}"
            command = "explain", f"{definition['spec']['names']['plural']}.spec", api
            while (await cluster.kubectl(*command, check=False)).returncode != 0:
                pass  # each round is a request; there is no event to wait for


def _established(definition: Json) -> bool:
    return _conditions(definition).get("Established") == "True"


def _conditions(definition: Json) -> dict[str, str]:
    found = definition.get("status", {}).get("conditions") or ()
    return {each["type"]: each["status"] for each in found}


def plain(obj: Json, namespace: str) -> Json:
    """Put an object into a test's namespace, without what belongs to another cluster."""
    kept = {key: obj["metadata"][key] for key in ("name", "labels", "annotations") if key in obj["metadata"]}
    return {**obj, "metadata": {**kept, "namespace": namespace}}


def version_of(obj: Json) -> str:
    """Name the resource of an object's version."""
    return f"{obj['apiVersion']}/rollouts"


async def found(served: Cluster, resource: str, namespace: str, name: str = "echoserver") -> Json:
    """Read a Rollout that must be there."""
    obj = await served.get(resource, namespace, name)
    assert obj is not None
    return obj


@pytest.mark.parametrize("name", [each["metadata"]["name"] for each in DEFINITIONS])
async def test_definition_is_established_and_structural(served: Cluster, name: str) -> None:
    """The API server accepts names and schema without reservation."""
    definition = await served.wait_for("customresourcedefinitions", None, name, _established)
    conditions = _conditions(definition)

    assert conditions["NamesAccepted"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"
    assert conditions.get("KubernetesAPIApprovalPolicyConformant", "True") == "True"


@pytest.mark.parametrize(
    ("field", "version", "expected"),
    [
        ("rollouts.spec.strategy.canary.steps.traffic", "v1beta1", 'percentage such as "20%"'),
        ("rollouts.spec.strategy.canary.steps.weight", "v1alpha1", "Percentage of the requests"),
        ("rollouts.spec.strategy.canary.enableExtraWorkloadForCanary", "v1beta1", "canary Deployment"),
        ("trafficroutings.spec.objectRef.service", "v1alpha1", "Name of the Service"),
    ],
)
async def test_fields_explain_themselves(served: Cluster, field: str, version: str, expected: str) -> None:
    """A person at a terminal needs no other manual."""
    told = await served.kubectl("explain", field, f"--api-version=rollouts.kruise.io/{version}")

    assert expected in " ".join(told.stdout.split())


@pytest.mark.parametrize(
    "resource", ["rollouts.v1beta1.rollouts.kruise.io", "rollouts.v1alpha1.rollouts.kruise.io"]
)
async def test_table_shows_where_a_release_stands(served: Cluster, place: str, resource: str) -> None:
    """The columns of kubectl get rollouts, in either version."""
    await served.create(ALPHA, place, plain(alpha(), place))
    step = {"currentStepIndex": 1, "currentStepState": "StepPaused"}
    status = {"phase": "Progressing", "message": "waits", "canaryStatus": step}
    await served.api.patch(f"{_url(ALPHA, place)}/status", {"status": status})

    table = (await served.kubectl("-n", place, "get", resource)).stdout.splitlines()

    assert table[0].split() == ["NAME", "STATUS", "CANARY_STEP", "CANARY_STATE", "MESSAGE", "AGE"]
    assert table[1].split()[:5] == ["echoserver", "Progressing", "1", "StepPaused", "waits"]


@pytest.mark.parametrize(
    "obj",
    [
        alpha(),
        alpha(
            {"steps": [{"weight": 20, "pause": {}}], "trafficRoutings": [ROUTING | {"type": "nginx"}]},
            rolloutID="7",
        ),
        beta(),
        beta(
            {"steps": [{"replicas": 1, "matches": [{"path": {"value": "/beta"}}]}], "trafficRoutingRef": "x"}
        ),
        beta({"steps": [{"replicas": 1}], "enableExtraWorkloadForCanary": False}),
        beta() | {"spec": {"workloadRef": WORKLOAD, "strategy": {"blueGreen": {"steps": [{"replicas": 1}]}}}},
    ],
    ids=["plain v1alpha1", "old v1alpha1", "plain v1beta1", "path match", "partition", "blueGreen"],
)
async def test_object_reads_back_as_it_was_written_and_can_be_put_back(
    served: Cluster, place: str, obj: Json
) -> None:
    """Whole, through either version, and putting it back through the other one changes nothing."""
    written = plain(obj, place)
    await served.create(version_of(obj), place, written)
    before = await found(served, version_of(obj), place)
    other = ALPHA if version_of(obj) == BETA else BETA
    seen = await found(served, other, place)

    await served.api.put(_url(other, place), seen)
    after = await found(served, version_of(obj), place)

    assert before["spec"] == written["spec"]
    assert before["metadata"].get("annotations") == written["metadata"].get("annotations")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


@pytest.mark.parametrize("manifest", [alpha(), beta()], ids=["v1alpha1", "v1beta1"])
@pytest.mark.parametrize("flags", [["--server-side"], []], ids=["server side", "client side"])
async def test_applying_the_same_manifest_again_changes_nothing(
    served: Cluster, place: str, manifest: Json, flags: list[str]
) -> None:
    """GitOps tools apply for ever; with fields that nobody wrote they would never come to rest."""
    text = json.dumps(plain(manifest, place))
    await served.kubectl("apply", *flags, "-f", "-", stdin=text)
    before = await found(served, BETA, place)
    await served.kubectl("apply", *flags, "-f", "-", stdin=text)
    after = await found(served, BETA, place)

    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_one_applier_may_change_the_version_of_its_manifest(served: Cluster, place: str) -> None:
    """Server-side apply tracks fields through the conversion: from v1alpha1 to v1beta1 without a conflict."""
    await served.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(plain(alpha(), place)))
    wanted = plain(beta({"steps": [{"traffic": "50%", "replicas": 2}]}), place)
    await served.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(wanted))

    assert (await found(served, BETA, place))["spec"] == wanted["spec"]
    seen = await found(served, ALPHA, place)
    assert seen["spec"]["strategy"]["canary"]["steps"] == [{"weight": 50, "replicas": 2}]


async def test_recorded_release_of_kubevela_is_silent_where_nothing_changes(
    served: Cluster, place: str
) -> None:
    """A patch that KubeVela has sent on every re-sync, because of a field that it read back, is empty now."""
    first = plain(whole_objects()[0], place)
    await served.create(ALPHA, place, first)
    before = await found(served, ALPHA, place)
    (steps, *_) = [
        each["body"] for each in writes() if set(each["body"]) == {"spec"} and each["client"] == "vela"
    ]

    await served.patch(ALPHA, place, "echoserver", steps)
    after = await found(served, ALPHA, place)

    assert before["spec"] == first["spec"]
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_typed_approval_of_kubevela_is_accepted(served: Cluster, place: str) -> None:
    """Its PUT of the status lacks the newer fields; a stale one is a conflict, which it retries."""
    await served.create(ALPHA, place, plain(alpha(), place))
    waiting = {
        "currentStepIndex": 1,
        "currentStepState": "StepPaused",
        "nextStepIndex": -1,
        "finalisingStep": "",
    }
    status = {
        "phase": "Progressing",
        "canaryStatus": waiting,
        "currentStepIndex": 1,
        "currentStepState": "StepPaused",
    }
    await served.api.patch(f"{_url(BETA, place)}/status", {"status": status})
    seen = await found(served, ALPHA, place)
    typed = copy.deepcopy(seen)
    typed["status"]["canaryStatus"] = {"currentStepIndex": 1, "currentStepState": "StepReady"}

    await served.api.put(f"{_url(ALPHA, place)}/status", typed)
    stored = await found(served, BETA, place)
    with pytest.raises(ApiError) as conflict:
        await served.api.put(f"{_url(ALPHA, place)}/status", typed)

    assert (
        stored["status"]["currentStepState"]
        == stored["status"]["canaryStatus"]["currentStepState"]
        == "StepReady"
    )
    assert conflict.value.status == 409


async def test_pause_through_v1beta1_is_seen_in_v1alpha1_and_nothing_else_changes(
    served: Cluster, place: str
) -> None:
    """kubectl-kruise pauses and resumes by merge patches of v1beta1."""
    written = plain(
        alpha({"steps": [{"weight": 20}], "trafficRoutings": [ROUTING | {"type": "nginx"}]}), place
    )
    await served.create(ALPHA, place, written)

    await served.patch(BETA, place, "echoserver", {"spec": {"strategy": {"paused": True}}})
    paused = await found(served, ALPHA, place)
    await served.patch(BETA, place, "echoserver", {"spec": {"strategy": {"paused": None}}})
    resumed = await found(served, ALPHA, place)

    assert paused["spec"]["strategy"] == written["spec"]["strategy"] | {"paused": True}
    assert resumed["spec"] == written["spec"]


async def test_status_write_through_v1alpha1_keeps_what_it_cannot_say(served: Cluster, place: str) -> None:
    """Annotations in a write to /status mean nothing, so the stored ones stay."""
    written = plain(beta({"steps": [{"replicas": 1, "matches": [{"path": {"value": "/beta"}}]}]}), place)
    await served.create(BETA, place, written)
    seen = await found(served, ALPHA, place)
    del seen["metadata"]["annotations"]

    await served.api.put(f"{_url(ALPHA, place)}/status", seen | {"status": {"phase": "Healthy"}})
    stored = await found(served, BETA, place)

    assert stored["spec"] == written["spec"]
    assert stored["status"] == {"phase": "Healthy"}


async def test_unknown_fields_are_refused_by_kubectl(served: Cluster, place: str) -> None:
    """A slip of the pen is told, not dropped."""
    manifest = plain(beta({"steps": [{"replicas": 1, "wieght": 20}]}), place)

    refused = await served.kubectl("apply", "-f", "-", stdin=json.dumps(manifest), check=False)

    assert refused.returncode != 0
    assert 'unknown field "spec.strategy.canary.steps[0].wieght"' in refused.stderr


async def test_plan_at_its_limits_is_stored(served: Cluster, place: str) -> None:
    """Fifty steps fit, with what v1alpha1 wrote of them; fifty-one do not."""
    steps = [{"weight": weight, "pause": {}} for weight in range(1, 51)]
    await served.create(ALPHA, place, plain(alpha({"steps": steps}), place))

    assert (await found(served, ALPHA, place))["spec"]["strategy"]["canary"]["steps"] == steps
    assert names.CONVERSION_STASH in (await found(served, BETA, place))["metadata"]["annotations"]
    with pytest.raises(ApiError, match="must have at most 50 items"):
        await served.patch(
            ALPHA, place, "echoserver", {"spec": {"strategy": {"canary": {"steps": [*steps, steps[0]]}}}}
        )


def _url(resource: str, namespace: str, name: str = "echoserver") -> str:
    group_version, _, plural = resource.rpartition("/")
    return f"/apis/{group_version}/namespaces/{namespace}/{plural}/{name}"
