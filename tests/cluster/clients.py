"""The ways in which users change a Deployment: stock clients, each with its own kind of request."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox import manifests
from sandbox.commands import CommandError
from sandbox.names import JsonObject
from tests.cluster.application import NAME, SECONDS, V1, V2, Application
from tests.cluster.gitops import write_chart

Act = Callable[["Client", Application], Awaitable[str]]
"""Does something and returns what the client printed."""

DEPLOYMENT = f"deployment/{NAME}"


@dataclass(frozen=True)
class Client:
    """One kind of client: how it deploys, brings the second version, and goes back to the first.

    `rollout` is the Rollout's manifest, in either version; `directory` is for the client's files.
    """

    deploy: Act
    update: Act
    back: Act
    directory: Path = Path()
    rollout: JsonObject = field(default_factory=lambda: manifests.rollout(grace_period_seconds=0))

    def objects(self, app: Application, image: str) -> list[JsonObject]:
        """Return all that the user has in their repository."""
        return [
            manifests.deployment(image=image),
            manifests.service(),
            manifests.ingress(host=app.host),
            self.rollout,
        ]


def declarative(*verb: str) -> dict[str, Act]:
    """Return a client that sends all its manifests, each time."""

    def send(image: str) -> Act:
        async def act(client: Client, app: Application) -> str:
            listed: JsonObject = {"apiVersion": "v1", "kind": "List", "items": client.objects(app, image)}
            return await app.kubectl(*verb, "-f", "-", stdin=listed)

        return act

    return {"deploy": send(V1), "update": send(V2), "back": send(V1)}


def imperative(update: Act, back: Act) -> dict[str, Act]:
    """Return a client that changes what somebody else has created."""

    async def create(client: Client, app: Application) -> str:
        await app.deploy(client.rollout)
        return ""

    return {"deploy": create, "update": update, "back": back}


def command(*arguments: str) -> Act:
    """Run kubectl with these arguments."""

    async def act(_: Client, app: Application) -> str:
        return await app.kubectl(*arguments)

    return act


def editing(old: str, new: str) -> Act:
    """Edit in an editor that replaces one text by another."""

    async def act(_: Client, app: Application) -> str:
        editor = f"KUBE_EDITOR=sed -i s|{old}|{new}|"
        words = ["env", editor, "kubectl", "-n", app.namespace, "edit", DEPLOYMENT]
        completed = await app.cluster.run(*words)
        return completed.stderr + completed.stdout

    return act


def replacing(image: str) -> Act:
    """Replace all objects, and again for as long as kubectl asks to try again.

    Kubectl reads each object and replaces the version it read: between the two the reconciler, whom the
    Deployment's change has woken, may pin the Service or write the Rollout's status.
    """

    async def act(client: Client, app: Application) -> str:
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": client.objects(app, image)})
        words = ("-n", app.namespace, "replace", "-f", "-")
        said = ""
        async with asyncio.timeout(SECONDS):
            while True:
                completed = await app.cluster.kubectl(*words, stdin=listed, check=False)
                said += completed.stderr + completed.stdout
                if completed.returncode == 0:
                    return said
                if "please apply your changes to the latest version" not in completed.stderr:
                    raise CommandError(completed)

    return act


async def _deploy_with_history(client: Client, app: Application) -> str:
    """Have the second version behind us already, so that there is something to undo to."""
    await app.create(manifests.service(), manifests.ingress(host=app.host), manifests.deployment(image=V2))
    await app.wait("deployments", manifests.available(5))
    await app.set_image(V1)
    await app.wait("deployments", manifests.available(5))
    await app.create(client.rollout)
    return ""


async def _helm(app: Application, *arguments: str) -> str:
    completed = await app.cluster.helm(*arguments, "-n", app.namespace)
    return completed.stderr + completed.stdout


async def _helm_install(client: Client, app: Application) -> str:
    write_chart(client.directory, client.objects(app, "{{ .Values.image }}"))
    return await _helm(app, "install", "web", str(client.directory))


async def _helm_upgrade(client: Client, app: Application) -> str:
    return await _helm(app, "upgrade", "web", str(client.directory), "--set", f"image={V2}")


async def _helm_rollback(_: Client, app: Application) -> str:
    return await _helm(app, "rollback", "web", "1")


def _container(image: str) -> str:
    patch: dict[str, Any] = {"containers": [{"name": NAME, "image": image}]}
    return json.dumps({"spec": {"template": {"spec": patch}}})


_RESTARTED = "/spec/template/metadata/annotations"
_SET = ("set", "image", DEPLOYMENT)

KINDS: dict[str, dict[str, Act]] = {
    "apply": declarative("apply"),
    "apply-server-side": declarative("apply", "--server-side"),
    "replace": {"deploy": declarative("create")["deploy"], "update": replacing(V2), "back": replacing(V1)},
    "edit": imperative(editing(V1, V2), editing(V2, V1)),
    "patch": imperative(
        command("patch", DEPLOYMENT, "-p", _container(V2)), command("patch", DEPLOYMENT, "-p", _container(V1))
    ),
    "set-image": imperative(command(*_SET, f"{NAME}={V2}"), command(*_SET, f"{NAME}={V1}")),
    # kubectl refuses to restart or undo a paused Deployment, so the way back is another.
    "restart": imperative(
        command("rollout", "restart", DEPLOYMENT),
        command("patch", DEPLOYMENT, "--type=json", "-p", json.dumps([{"op": "remove", "path": _RESTARTED}])),
    ),
    "undo": {
        **imperative(command("rollout", "undo", DEPLOYMENT), command(*_SET, f"{NAME}={V1}")),
        "deploy": _deploy_with_history,
    },
    "helm": {"deploy": _helm_install, "update": _helm_upgrade, "back": _helm_rollback},
}
"""Every kind of client that the project promises to work with."""
