"""Certificates on the real API server: its own TLS stack verifies them, its own watches tell of changes."""

import asyncio
import base64
import contextlib
import itertools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from certs.bundle import fingerprints, read
from certs.injection import UrlEndpoint
from certs.secret import Requests
from certs.serving import ServingCertificates
from certs.upkeep import SETTLED_SECONDS, Installation, Upkeep
from kube.client import Client, JsonPatch
from kube.errors import Conflict, KubeError
from kube.login import log_in
from kube.resources import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    SECRETS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
from runtime.clock import ManualClock, SystemClock
from runtime.logs import Log
from runtime.metrics import Metrics
from runtime.server import Server
from sandbox.cluster import Cluster

PATIENCE = 30.0
PORTS = itertools.count(20443)
"""The private network is this run's own: fixed ports meet nobody."""
DAY = 86400.0


@contextlib.asynccontextmanager
async def listening(context: ssl.SSLContext, port: int) -> AsyncIterator[None]:
    """Serve an admission webhook that allows everything, and shakes hands anew for each call.

    So every call is one more verification; and the API server keeps no connection that the next listener on
    this port would not know of.
    """

    async def allow(request: web.Request) -> web.Response:
        review = await request.json()
        answer = {"uid": review["request"]["uid"], "allowed": True}
        response = web.json_response({**review, "response": answer})
        response.force_close()
        return response

    app = web.Application()
    app.router.add_post("/allow", allow)
    server = Server(app, "127.0.0.1", port, context)
    await server.start()
    try:
        yield
    finally:
        await server.stop()


class Site:
    """An installation of its own in one namespace: two configurations and a definition, nothing injected."""

    def __init__(self, client: Client, namespace: str, port: int) -> None:
        self.client = client
        self.namespace = namespace
        self.port = port
        self.mutating = MUTATING_WEBHOOK_CONFIGURATIONS.ref(None, f"certs-{namespace}")
        self.validating = VALIDATING_WEBHOOK_CONFIGURATIONS.ref(None, f"certs-{namespace}")
        self.definition = CUSTOM_RESOURCE_DEFINITIONS.ref(None, f"widgets.{namespace}.example.com")
        self.installation = Installation(
            secret=SECRETS.ref(namespace, "certs"),
            configurations=(self.mutating, self.validating),
            definitions=(self.definition,),
            endpoint=UrlEndpoint(f"https://127.0.0.1:{port}"),
        )

    async def install(self) -> None:
        """Create what a chart creates."""
        for ref in (self.mutating, self.validating):
            await self.client.create(ref.resource, self._configuration(ref.name))
        await self.client.create(self.definition.resource, self._definition())

    async def remove(self) -> None:
        """Take it away."""
        for ref in (self.mutating, self.validating, self.definition):
            await self.client.delete(ref)

    async def call(self, name: str) -> None:
        """Have the API server call the webhook, twice; raises when it cannot."""
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        await self.client.create(CONFIG_MAPS, body, namespace=self.namespace)

    async def trusts(self) -> list[bytes]:
        """Return the CA bundle of every entry."""
        found = []
        for ref in (self.mutating, self.validating):
            found += [hook["clientConfig"] for hook in (await self.client.get(ref))["webhooks"]]
        found.append(
            (await self.client.get(self.definition))["spec"]["conversion"]["webhook"]["clientConfig"]
        )
        return [base64.b64decode(config.get("caBundle", "")) for config in found]

    async def data(self) -> dict[str, Any]:
        """Return what the Secret holds."""
        found: dict[str, Any] = (await self.client.get(self.installation.secret))["data"]
        return found

    def _configuration(self, name: str) -> dict[str, Any]:
        hook = {
            "name": "allow.example.com",
            "clientConfig": {"service": {"namespace": self.namespace, "name": "none", "path": "/allow"}},
            "rules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "resources": ["configmaps"],
                    "operations": ["CREATE"],
                }
            ],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail",
        }
        return {"metadata": {"name": name}, "webhooks": [hook]}

    def _definition(self) -> dict[str, Any]:
        version = {
            "served": True,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        }
        return {
            "metadata": {"name": self.definition.name},
            "spec": {
                "group": f"{self.namespace}.example.com",
                "scope": "Namespaced",
                "names": {"kind": "Widget", "plural": "widgets"},
                "versions": [
                    {"name": "v1", "storage": True, **version},
                    {"name": "v2", "storage": False, **version},
                ],
            },
        }


@pytest_asyncio.fixture(loop_scope="session")
async def client(cluster: Cluster) -> AsyncIterator[Client]:
    """Speak to the cluster as its administrator."""
    login = await log_in(environ={}, kubeconfig=str(cluster.kubeconfig))
    async with Client(login, user_agent="test") as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def site(client: Client, namespace: str) -> AsyncIterator[Site]:
    """Install, without a certificate anywhere."""
    site = Site(client, namespace, next(PORTS))
    await site.install()
    yield site
    await site.remove()


@contextlib.asynccontextmanager
async def running(site: Site) -> AsyncIterator[ServingCertificates]:
    """Run a replica's certificates for the time of the block; they are ready when it begins."""
    certificates = ServingCertificates(
        site.client, site.installation, clock=SystemClock(), log=Log("certs"), metrics=Metrics("test", "1")
    )
    task = asyncio.create_task(certificates.run())
    try:
        await until(lambda: _is(certificates.ready() is None))
        yield certificates
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what no watch tells; a hung test says where."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.05)


async def _is(value: bool) -> bool:  # noqa: FBT001 - the value is the point
    return value


async def test_api_server_calls_a_new_installation(site: Site) -> None:
    """From nothing: issued, injected, loaded, verified by the API server's own TLS stack."""
    async with running(site) as certificates, listening(certificates.ssl_context, site.port):
        await site.call("one")

        assert (await site.client.get(site.installation.secret))["type"] == "kubernetes.io/tls"
        assert set(await site.trusts()) == {certificates.ca_bundle}


async def test_replicas_that_start_together_on_an_empty_cluster_converge(site: Site) -> None:
    """Two replicas race for the Secret and for the injection; both then serve what all consumers trust."""
    async with running(site) as one, running(site) as other:
        assert one.ca_bundle == other.ca_bundle
        assert set(await site.trusts()) == {one.ca_bundle}
        for certificates in (one, other):
            async with listening(certificates.ssl_context, site.port):
                await site.call(f"one-{id(certificates)}")


async def test_truly_concurrent_first_rounds_end_with_one_bundle(site: Site) -> None:
    """Five first rounds at once: one Secret is created, the others take it over."""
    replicas = [Upkeep(site.client, site.installation, SystemClock(), Log("certs")) for _ in range(5)]

    async def settle(replica: Upkeep) -> None:
        await replica.once()
        await until(lambda: _once(replica))

    async def _once(replica: Upkeep) -> bool:
        await replica.once()
        return replica.ready() is None

    await asyncio.gather(*map(settle, replicas))

    stored = read(await site.data()).serving
    assert stored is not None
    assert {replica.loaded for replica in replicas} == {stored}
    assert {len(fingerprints(trust)) for trust in await site.trusts()} == {1}


@pytest.mark.parametrize("key", ["ca-cert.pem", "ca-key.pem", "tls.crt", "tls.key"])
async def test_corrupt_secret_is_healed_at_once_under_calls(site: Site, key: str) -> None:
    """A watch tells of the damage; calls succeed before, during and after."""
    async with running(site) as certificates, listening(certificates.ssl_context, site.port):
        garbage = {"data": {key: base64.b64encode(b"garbage").decode()}}
        await site.client.patch(site.installation.secret, garbage)
        numbers = itertools.count()

        async def healed() -> bool:
            await site.call(f"call-{next(numbers)}")
            return not read(await site.data()).problems

        await until(healed)
        for _ in range(5):
            await healed()


async def test_bundle_that_somebody_resets_is_injected_again(site: Site) -> None:
    """Who applies the chart again takes the webhook down for a moment, not for good."""
    async with running(site) as certificates, listening(certificates.ssl_context, site.port):
        for ref in (site.mutating, site.validating):
            reset = [{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]
            await site.client.patch(ref, JsonPatch(reset))
        await site.client.patch(
            site.definition, {"spec": {"conversion": {"strategy": "None", "webhook": None}}}
        )

        async def injected() -> bool:
            try:
                return set(await site.trusts()) == {certificates.ca_bundle}
            except (KeyError, TypeError):  # no conversion stanza yet
                return False

        await until(injected)
        await site.call("after")


async def test_rotation_of_the_authority_loses_no_call(site: Site) -> None:
    """Through all steps, old to new authority, the API server's calls succeed after every single request."""
    clock = ManualClock(datetime.now(UTC))
    numbers = itertools.count()

    class Calling:
        """The client, with a call of the webhook before each of its requests."""

        def __getattr__(self, verb: str) -> Any:
            async def request(*arguments: Any, **options: Any) -> Any:
                if upkeep.loaded is not None and upkeep.ready() is None:
                    await site.call(f"call-{next(numbers)}")
                return await getattr(site.client, verb)(*arguments, **options)

            return request

    requests: Requests = Calling()
    upkeep = Upkeep(requests, site.installation, clock, Log("certs"))
    await upkeep.once()
    async with listening(upkeep.ssl_context, site.port):
        first = upkeep.bundle.signer
        await site.client.patch(site.installation.secret, {"data": {"ca-key.pem": ""}})
        for seconds, authorities in ((0, 2), (SETTLED_SECONDS, 2), (DAY, 1)):
            await clock.advance(seconds)
            await upkeep.once()
            assert {len(fingerprints(trust)) for trust in await site.trusts()} == {authorities}
            await site.call(f"call-{next(numbers)}")

    assert first is not None
    assert first.certificate not in upkeep.bundle.authorities
    assert next(numbers) > 10


async def test_injection_over_a_newer_version_is_a_conflict(site: Site) -> None:
    """A patch made for what was seen is not done on what is there since."""
    seen = (await site.client.get(site.mutating))["metadata"]["resourceVersion"]
    await site.client.patch(site.mutating, {"metadata": {"labels": {"touched": "meanwhile"}}})
    guard = {"op": "replace", "path": "/metadata/resourceVersion", "value": seen}
    change = {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}

    with pytest.raises(Conflict):
        await site.client.patch(site.mutating, JsonPatch([guard, change]))


async def test_call_fails_where_nobody_injects(site: Site) -> None:
    """The other tests' calls do reach the webhook: without certificates they are refused."""
    with pytest.raises(KubeError, match="failed calling webhook"):
        await site.call("one")
