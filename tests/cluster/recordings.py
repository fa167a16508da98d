"""Recorded writes of other clients, sent again to a cluster in which objects have other identities."""

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from sandbox.api import JSON, MERGE_PATCH, STRATEGIC_MERGE_PATCH, ApiError
from sandbox.names import JsonObject
from tests.cluster.application import Application

_FILE = Path(__file__).parents[1] / "recordings" / "vela-walkthrough.jsonl"
_JSON_PATCH = "application/json-patch+json"
_METHODS = {"create": "POST", "patch": "PATCH", "delete": "DELETE"}
_CONFLICT_SECONDS = 5
"""The reconciler writes a status a few times a second at most."""

_RECORDED_GRACE, _GRACE = '"gracePeriodSeconds": 5', '"gracePeriodSeconds": 0'
"""The one value that is changed: what it does is waited for in tests of its own."""


@dataclass(frozen=True)
class Write:
    """One request as it was recorded."""

    during: str
    client: str
    verb: str
    uri: str
    body: Any

    @property
    def content_type(self) -> str:
        """What the audit log does not hold (tests/recordings/README.md)."""
        if self.verb != "patch":
            return JSON
        if isinstance(self.body, list):
            return _JSON_PATCH
        return MERGE_PATCH if "/rollouts.kruise.io/" in self.uri else STRATEGIC_MERGE_PATCH


def recorded(during: str) -> tuple[Write, ...]:
    """Return what was sent after the user had typed something; each caller gets bodies of its own."""
    lines = _FILE.read_text(encoding="utf-8").splitlines()
    found = tuple(write for write in (Write(**json.loads(line)) for line in lines) if write.during == during)
    if not found:
        raise LookupError(f"nothing was recorded during {during!r}")
    return found


async def replay(app: Application, write: Write) -> JsonObject:
    """Send a write again; a replacement carries the values of the object that it replaces."""
    uri = write.uri.replace("/namespaces/default/", f"/namespaces/{app.namespace}/")
    body = moved(app, write.body)
    if write.verb == "update":
        return await _replace(app, uri, body)
    method, sent = _METHODS[write.verb], None if write.verb == "delete" else body
    return await app.cluster.api.request(method, uri, sent, content_type=write.content_type)


async def _replace(app: Application, uri: str, body: JsonObject) -> JsonObject:
    """Read and write back until nobody came between, as was recorded of vela (409, then again)."""
    async with asyncio.timeout(_CONFLICT_SECONDS):
        while True:
            live = await app.cluster.api.get(uri.removesuffix("/status"))
            try:
                return await app.cluster.api.put(uri, _typed(body, live))
            except ApiError as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise


def moved(app: Application, body: Any) -> Any:
    """Return a recorded body for the application's namespace and host."""
    text = json.dumps(body).replace(_RECORDED_GRACE, _GRACE)
    text = text.replace('"namespace": "default"', f'"namespace": "{app.namespace}"')
    return json.loads(text.replace("echoserver.example.com", app.host))


def _typed(body: JsonObject, live: JsonObject) -> JsonObject:
    """Return the live object as a typed client writes it back, with the recorded keys and change.

    Identities, revisions and times are the live ones; what the client's types lack is missing.
    """
    status, canary = body["status"], body["status"]["canaryStatus"]
    known = {
        key: live["status"]["canaryStatus"][key] for key in canary if key in live["status"]["canaryStatus"]
    }
    changed = {**known, "currentStepState": canary["currentStepState"]}
    kept = {key: live["status"][key] for key in status if key in live["status"]}
    strategy = {**live["spec"]["strategy"], "paused": body["spec"]["strategy"].get("paused", False)}
    spec = {**live["spec"], "strategy": strategy}
    return {**live, "spec": spec, "status": {**kept, "canaryStatus": changed}}
