"""A Service or Ingress that is not there: said at once, and gone on with when it comes."""

import time

import pytest

from sandbox import manifests
from sandbox.names import JsonObject
from tests.cluster.application import V2, Application, message


def _object(app: Application, resource: str) -> JsonObject:
    return manifests.service() if resource == "services" else manifests.ingress(host=app.host)


@pytest.mark.parametrize(("resource", "kind"), [("services", "Service"), ("ingresses", "Ingress")])
async def test_missing_object_is_named_within_two_seconds_and_waited_for(
    app: Application, resource: str, kind: str
) -> None:
    """A release whose Service or Ingress is missing says which in MESSAGE, and goes on once it is created."""
    others = {"services": manifests.service(), "ingresses": manifests.ingress(host=app.host)}
    await app.create(*(each for key, each in others.items() if key != resource), manifests.deployment())
    await app.wait("deployments", manifests.available(5))
    await app.create(manifests.rollout(grace_period_seconds=0))
    await app.governed()

    begun = time.monotonic()
    await app.set_image(V2)
    await app.wait("rollouts", lambda found: message(found).startswith(f"{kind} echoserver not found"))
    elapsed = time.monotonic() - begun
    await app.create(_object(app, resource))
    await app.waits(1, 1)

    assert elapsed < 2
    assert await app.weight() == 20


@pytest.mark.parametrize(("resource", "kind"), [("services", "Service"), ("ingresses", "Ingress")])
async def test_object_that_goes_missing_is_named_and_waited_for(
    app: Application, resource: str, kind: str
) -> None:
    """Deleted while a step waits, it is named in MESSAGE; created again, the step waits as before."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)

    await app.cluster.delete(resource, app.namespace, "echoserver")
    await app.wait("rollouts", lambda found: message(found).startswith(f"{kind} echoserver not found"))
    await app.create(_object(app, resource))
    await app.waits(1, 1)
    await app.approve()
    await app.completes()

    await app.serves(V2)
