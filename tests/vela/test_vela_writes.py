"""The client that stands for KubeVela sends what was recorded of it."""

import json
import re
from typing import Any

import pytest

from tests.cluster.recordings import Write, recorded
from tests.vela import cli, writing
from tests.vela.applications import render
from tests.vela.walkthrough import application, rollout

JsonObject = dict[str, Any]

_FIRST = "vela up, first deploy 1.10.2"
_VOLATILE = re.compile(
    r'(\\?"(?:app\.oam\.dev/app-revision-hash|oam\.dev/render-hash|app\.oam\.dev/last-applied-time)\\?":\s?\\?")[^"\\]+'
)


def _fixed(found: object) -> Any:
    """Take hashes and times, which say nothing of us, out of a body."""
    return json.loads(_VOLATILE.sub(r"\1...", json.dumps(found)))


def _objects(image: str, number: int) -> dict[str, JsonObject]:
    (component,) = render(application(f"cilium/echoserver:{image}", rollout(kind="ingress")), number)
    return {each["kind"]: each for each in component.objects()}


def _by_kind(during: str, verb: str) -> dict[str, Write]:
    kinds = {
        "deployments": "Deployment",
        "services": "Service",
        "ingresses": "Ingress",
        "rollouts": "Rollout",
    }
    found = (each for each in recorded(during) if each.verb == verb and each.client == "vela")
    return {kinds[each.uri.split("/namespaces/default/")[1].split("/")[0]]: each for each in found}


@pytest.mark.parametrize("kind", ["Deployment", "Service", "Ingress", "Rollout"])
def test_new_objects_are_those_that_vela_creates(kind: str) -> None:
    """Labels, annotations, and what it notes that it applied; defaults are the API server's."""
    sent = _fixed(writing.created(_objects("1.10.2", 1)[kind]))
    expected = _fixed(_by_kind(_FIRST, "create")[kind].body)

    assert sent["metadata"] == expected["metadata"]
    applied = json.loads(expected["metadata"]["annotations"]["app.oam.dev/last-applied-configuration"])
    assert sent["spec"] == applied["spec"]


@pytest.mark.parametrize("kind", ["Deployment", "Service", "Ingress", "Rollout"])
def test_patches_are_those_that_vela_sends(kind: str) -> None:
    """Of a new image, with what was there then, a field that another implementation had added included."""
    live = _by_kind(_FIRST, "create")[kind].body
    if kind == "Rollout":
        live["spec"]["strategy"]["canary"]["steps"][0]["replicas"] = "20%"
    sent = writing.patch(_objects("1.10.3", 2)[kind], live)

    assert _fixed(sent) == _fixed(_by_kind("vela up 1.10.3", "patch")[kind].body)


@pytest.mark.parametrize(
    "during", ["vela workflow resume", "vela workflow suspend", "vela workflow resume (after undo)"]
)
def test_commands_replace_a_rollout_with_the_fields_that_they_know(during: str) -> None:
    """All of those that were recorded, and no other."""
    for each in recorded(during):
        if each.verb == "update":
            newer = json.loads(json.dumps(each.body))
            newer["status"]["canaryStatus"]["nextStepIndex"] = -1
            newer["spec"]["strategy"]["canary"]["enableExtraWorkloadForCanary"] = True

            assert cli.typed(newer) == each.body
