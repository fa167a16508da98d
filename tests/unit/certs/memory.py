"""An API server in memory (objects, versions, preconditions), and verifying as a TLS client does."""

import asyncio
import base64
import copy
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import jsonpatch
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from certs.injection import Endpoint, ServiceEndpoint
from certs.upkeep import Installation
from kube.client import Apply, Change, JsonPatch
from kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, KubeError, NotFound
from kube.resources import (
    CUSTOM_RESOURCE_DEFINITIONS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    SECRETS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Ref,
    Resource,
)

SECRET = SECRETS.ref("kruise-rollout", "sluice-webhook-certs")
MUTATING = MUTATING_WEBHOOK_CONFIGURATIONS.ref(None, "sluice-mutating")
VALIDATING = VALIDATING_WEBHOOK_CONFIGURATIONS.ref(None, "sluice-validating")
DEFINITION = CUSTOM_RESOURCE_DEFINITIONS.ref(None, "rollouts.rollouts.kruise.io")
ENDPOINT = ServiceEndpoint("kruise-rollout", "sluice-webhook")
HOST = "sluice-webhook.kruise-rollout.svc"


def installation(endpoint: Endpoint = ENDPOINT) -> Installation:
    """Return the installation as the chart makes it."""
    return Installation(
        secret=SECRET, configurations=(MUTATING, VALIDATING), definitions=(DEFINITION,), endpoint=endpoint
    )


def configuration(*paths: str) -> dict[str, Any]:
    """Return a webhook configuration as the chart makes it, with an entry for each path."""
    service = {"namespace": "kruise-rollout", "name": "sluice-webhook"}
    return {
        "webhooks": [
            {"name": f"hook{number}.sluice.dev", "clientConfig": {"service": {**service, "path": path}}}
            for number, path in enumerate(paths)
        ]
    }


def definition() -> dict[str, Any]:
    """Return a custom resource definition that nobody converts yet."""
    return {"spec": {"group": "rollouts.kruise.io", "conversion": {"strategy": "None"}}}


class MemoryCluster:
    """Just enough of an API server for what ``certs.secret.Requests`` asks of one."""

    def __init__(self) -> None:
        self.objects: dict[Ref, dict[str, Any]] = {}
        self.writes = 0
        self.before: Callable[[str, Ref], None] = lambda _verb, _ref: None
        """Called before each request: to count, to refuse, to interfere."""
        self.turns: Iterator[int] = itertools.repeat(0)
        """How long each request takes, in turns of the event loop: replicas overtake each other."""
        self._version = 0

    def put(self, ref: Ref, body: Mapping[str, Any]) -> None:
        """Have an object, however it came there."""
        self._version += 1
        metadata = {"name": ref.name, "resourceVersion": str(self._version)}
        self.objects[ref] = {**copy.deepcopy(dict(body)), "metadata": metadata}

    def install(self) -> None:
        """Apply what the chart applies."""
        self.put(MUTATING, configuration("/mutate-deployment", "/mutate-rollout"))
        self.put(VALIDATING, configuration("/validate-rollout"))
        self.put(DEFINITION, definition())

    async def get(self, ref: Ref) -> dict[str, Any]:
        """Read an object."""
        await self._arrive("get", ref)
        if ref not in self.objects:
            raise NotFound(f"{ref} not found", code=404)
        return copy.deepcopy(self.objects[ref])

    async def create(
        self, resource: Resource, body: Mapping[str, Any], *, namespace: str | None = None
    ) -> dict[str, Any]:
        """Create an object."""
        ref = resource.ref(namespace, body["metadata"]["name"])
        await self._arrive("create", ref)
        if ref in self.objects:
            raise AlreadyExists(f"{ref} already exists", code=409)
        self.writes += 1
        self.put(ref, body)
        return copy.deepcopy(self.objects[ref])

    async def patch(self, ref: Ref, change: Change) -> dict[str, Any]:
        """Change an object."""
        await self._arrive("patch", ref)
        if ref not in self.objects:
            raise NotFound(f"{ref} not found", code=404)
        present = self.objects[ref]
        changed = _changed(copy.deepcopy(present), change)
        if changed["metadata"]["resourceVersion"] != present["metadata"]["resourceVersion"]:
            raise Conflict(f"{ref} has been modified", code=409)
        self.writes += 1
        self.put(ref, changed)
        return copy.deepcopy(self.objects[ref])

    async def _arrive(self, verb: str, ref: Ref) -> None:
        for _ in range(next(self.turns, 0)):
            await asyncio.sleep(0)
        self.before(verb, ref)

    def trusts(self) -> list[bytes]:
        """Return the CA bundle of every entry of every consumer."""
        configurations = [self.objects[ref] for ref in (MUTATING, VALIDATING) if ref in self.objects]
        configs = [entry["clientConfig"] for each in configurations for entry in each["webhooks"]]
        if DEFINITION in self.objects:
            configs.append(
                self.objects[DEFINITION]["spec"]["conversion"].get("webhook", {}).get("clientConfig", {})
            )
        return [base64.b64decode(config.get("caBundle", "")) for config in configs]


def refusing(verb: str, ref: Ref, error: KubeError | None = None) -> Callable[[str, Ref], None]:
    """Return a hook that refuses one kind of request."""

    def before(asked: str, of: Ref) -> None:
        if (asked, of) == (verb, ref):
            raise error or Forbidden(f"cannot {verb} {ref}", code=403)

    return before


@functools.lru_cache
def verifies(serving: x509.Certificate, trust: bytes, now: datetime, host: str = HOST) -> bool:
    """Tell whether a client that trusts this bundle accepts the certificate for the host."""
    if not trust:
        return False
    store = Store(x509.load_pem_x509_certificates(trust))
    verifier = PolicyBuilder().store(store).time(now).build_server_verifier(x509.DNSName(host))
    try:
        verifier.verify(serving, [])
    except VerificationError:
        return False
    return True


def _changed(present: dict[str, Any], change: Change) -> dict[str, Any]:
    match change:
        case JsonPatch(operations):
            try:
                patched: dict[str, Any] = jsonpatch.apply_patch(present, list(operations))
            except jsonpatch.JsonPatchException as error:
                raise Invalid(str(error), code=422) from error
            return patched
        case Apply():
            raise NotImplementedError
        case Mapping():
            return _merged(present, change)


def _merged(present: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(present)
    for key, value in change.items():
        merged[key] = _merged(merged.get(key) or {}, value) if isinstance(value, Mapping) else value
    return merged
