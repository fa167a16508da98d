"""Builders of the objects and reviews that an API server would send."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import jsonpatch

from rollout import approval
from rollout.gate import Governor, Standing
from webhook.policy import Policy

NOW = datetime(2026, 11, 23, 6, 22, 44, tzinfo=UTC)
RECONCILER = "system:serviceaccount:kruise-rollout:sluice-reconciler"
POLICY = Policy(RECONCILER)
HELD = {"rollouts.kruise.io/in-progressing": '{"rolloutName":"web"}', "sluice.dev/release": "k4x9d"}
LABEL = {"rollouts.kruise.io/workload-type": "deployment"}

Json = dict[str, Any]


def rolling(surge: int | str, unavailable: int | str) -> Json:
    """Build a rolling update with these limits."""
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


OWN, WIDE, NARROW = rolling("25%", "25%"), rolling("60%", 1), rolling(0, "25%")
"""What its owner declared, what he writes meanwhile, and what is held for a release inside the Deployment."""


def governor(standing: Standing = Standing.ACTIVE, name: str = "web", **changes: Any) -> Governor:
    """Build a Rollout that refers to Deployment web."""
    values: Json = {
        "name": name,
        "namespace": "shop",
        "uid": f"uid-of-{name}",
        "standing": standing,
        "created": "2026-11-01T00:00:00Z",
        "position": None,
    }
    return Governor(**{**values, **changes})


def at_step(step: int, steps: int = 3, release: str = "k4x9d") -> approval.Position:
    """Build a release that waits at a step."""
    return approval.Position(release, step, steps, "StepPaused")


def template(image: str = "echo:1", **metadata: Any) -> Json:
    """Build a pod template."""
    return {
        "metadata": {"labels": {"app": "web"}, **metadata},
        "spec": {"containers": [{"name": "echo", "image": image}]},
    }


def deployment(
    image: str = "echo:1", annotations: Json | None = None, labels: Json | None = None, **spec: Any
) -> Json:
    """Build a Deployment; without annotations it has no annotations map at all, as on the wire."""
    metadata: Json = {"name": "web", "namespace": "shop", "uid": "u", "generation": 7}
    if annotations is not None:
        metadata["annotations"] = annotations
    if labels is not None:
        metadata["labels"] = labels
    body = {"replicas": 5, "strategy": {"type": "RollingUpdate"}, "template": template(image), **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": body}


def closed(image: str = "echo:2", annotations: Json | None = None, **spec: Any) -> Json:
    """Build a Deployment behind a closed gate."""
    return deployment(image, {**HELD, **(annotations or {})}, LABEL, paused=True, **spec)


def review(
    old: Json | None,
    new: Json | None,
    *,
    user: str = "jane",
    groups: tuple[str, ...] = (),
    resource: tuple[str, str, str] = ("apps", "v1", "deployments"),
    sub_resource: str = "",
    dry_run: bool = False,
) -> bytes:
    """Build an AdmissionReview as the API server sends it."""
    group, version, plural = resource
    some = new or old or {}
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": group, "version": version, "kind": some.get("kind", "")},
        "resource": {"group": group, "version": version, "resource": plural},
        "requestKind": {"group": group, "version": version, "kind": some.get("kind", "")},
        "subResource": sub_resource,
        "name": some["metadata"]["name"],
        "namespace": some["metadata"]["namespace"],
        "operation": "UPDATE" if old is not None else "CREATE",
        "userInfo": {"username": user, "groups": list(groups)},
        "object": new,
        "oldObject": old,
        "dryRun": dry_run,
        "options": {"kind": "UpdateOptions", "apiVersion": "meta.k8s.io/v1"},
    }
    body = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
    return json.dumps(body, separators=(",", ":")).encode()


def operations(answer: bytes) -> list[Json]:
    """Read the JSON patch of an answer; empty for none."""
    patch = json.loads(answer)["response"].get("patch")
    found: list[Json] = json.loads(base64.b64decode(patch)) if patch else []
    return found


def patched(value: Json, answer: bytes) -> Json:
    """Patch the object as the API server would."""
    result: Json = jsonpatch.apply_patch(value, operations(answer))
    return result
