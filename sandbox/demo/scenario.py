"""The demo's course: install, deploy, release, approve, release again, roll back.

It acts as a user does, with kubectl and helm, and looks at what a user sees. It
knows the product by its chart and by what that prints, not by its code.
"""

import asyncio
import re
import shlex
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox import manifests
from sandbox.cluster import Cluster
from sandbox.data_plane import DataPlane, Traffic
from sandbox.demo import expectations, lives, tables
from sandbox.demo.expectations import NAMESPACE, PRODUCT_NAMESPACE, Stage
from sandbox.demo.narration import Narration
from sandbox.demo.terminal import Terminal
from sandbox.names import JsonObject
from sandbox.observation import Predicate

_APPROVAL = re.compile(r"kubectl annotate rollout \S+ -n \S+ sluice\.dev/approve=\S+ --overwrite")
"""The command that the product prints for whoever wants to approve."""

_PRE_STOP_SECONDS = 3
"""Longer than a data plane needs to notice that a pod is leaving."""

_PATIENCE = 120.0
"""Seconds for any one step of the product: it needs seconds, a loaded machine more."""

_TURN = 1
"""Requests by which a count can differ from the exact share."""

_HELM_PATIENCE = "180s"


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command line can change."""

    chart: Path
    grace_period_seconds: int = 0
    requests: int = 1000
    rate: float = 100.0
    """Requests a second of the steady load."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured; seconds count from the moment the API server had taken the user's change."""

    waiting: float
    completed: float
    rolled_back: float
    sent: int
    losses: Counter[str]
    """Requests that were lost, by what came in place of an answer."""


class Scenario:
    """One play of the walkthrough in one cluster."""

    def __init__(
        self, cluster: Cluster, data_plane: DataPlane, narration: Narration, choices: Choices
    ) -> None:
        self._cluster = cluster
        self._data_plane = data_plane
        self._narration = narration
        self._choices = choices
        self._terminal = Terminal(cluster, narration)
        self._sent = 0
        self._losses: Counter[str] = Counter()

    async def play(self) -> Figures:
        """Go through all stages."""
        await self._install()
        await self._deploy()
        async with self._load():
            waiting, approval = await self._release()
        await self._split()
        async with self._load():
            completed = await self._approve(approval)
            rolled_back = await self._roll_back()
        self._narration.expect("requests lost during all of it", 0, self._losses.total())
        return Figures(waiting, completed, rolled_back, self._sent, self._losses)

    # -- the stages -----------------------------------------------------------

    async def _install(self) -> None:
        self._narration.heading("1. Install")
        target = [
            "--namespace",
            PRODUCT_NAMESPACE,
            "--create-namespace",
            "--wait",
            "--timeout",
            _HELM_PATIENCE,
        ]
        await self._terminal.run("helm", "install", "sluice", str(self._choices.chart), *target, quiet=True)
        self._narration.say("Webhook and reconciler run as pods, under the chart's own rights.")
        table = await self._terminal.table("pods", PRODUCT_NAMESPACE)
        self._narration.check("two replicas of each process", tables.differences(table, expectations.PODS))

    async def _deploy(self) -> None:
        self._narration.heading("2. Deploy for the first time")
        self._narration.say(
            f"A Deployment of {manifests.STABLE_IMAGE}, a Service, an Ingress, and a Rollout that asks for "
            f"{expectations.WEIGHT} % first and then for a person's approval. The pods are ready 0.3 s after "
            f"they start, and drain for {_PRE_STOP_SECONDS} s when they end (preStop), as pods behind an "
            "ingress should."
        )
        await self._terminal.apply(
            manifests.deployment(pre_stop_seconds=_PRE_STOP_SECONDS),
            manifests.service(),
            manifests.ingress(),
            manifests.rollout(
                weight=expectations.WEIGHT, grace_period_seconds=self._choices.grace_period_seconds
            ),
        )
        await self._moment("deployments", manifests.available(5))
        await self._moment("rollouts", lambda found: _phase(found) == "Healthy")
        await self._data_plane.wait_for(manifests.HOST, manifests.STABLE_IMAGE)
        self._narration.say("The first deployment releases nothing: there is no older version to protect.")
        await self._look(Stage.DEPLOYED)

    async def _release(self) -> tuple[float, str]:
        image = manifests.CANARY_IMAGE
        self._narration.heading(f"3. Change the image to {image}")
        self._narration.say(
            f"From here on {self._choices.rate:g} requests a second go through the ingress, each one counted."
        )
        seconds, approval = await self._update(image)
        await self._look(Stage.WAITING)
        found = await self._terminal.ingress(f"{manifests.NAME}-canary")
        annotations = found["metadata"]["annotations"]
        asked = {key: annotations.get(key) for key in expectations.CANARY_INGRESS_ANNOTATIONS}
        expect = self._narration.expect
        expect("the canary Ingress's annotations", expectations.CANARY_INGRESS_ANNOTATIONS, asked)
        expect("the canary Ingress's rules", expectations.CANARY_INGRESS_RULES, found["spec"]["rules"])
        await self._data_plane.wait_for(manifests.HOST, image)
        return seconds, approval

    async def _split(self) -> None:
        count = self._choices.requests
        self._narration.say(f"The steady load pauses for {count} requests that show the split exactly.")
        traffic = await self._data_plane.send(manifests.HOST, count)
        self._add(traffic.sent, traffic.losses)
        found = dict(traffic.by_image)
        for image in sorted(found):
            self._narration.say(f"{found[image]} of {traffic.sent} requests were answered by {image}")
        self._narration.check("the split of the requests", _split_differences(traffic, count))

    async def _approve(self, approval: str) -> float:
        self._narration.heading("4a. Approve")
        self._narration.say("By the annotation that the warning told: it names the release and the step.")
        approved = self._moment("rollouts", lambda found: "sluice.dev/approve" in _annotations(found))
        ended = self._moment("rollouts", lambda found: _phase(found) == "Healthy")
        async with asyncio.TaskGroup() as group:
            first, last = group.create_task(approved), group.create_task(ended)
            await self._terminal.run(*shlex.split(approval))
        seconds = last.result() - first.result()
        self._narration.say(f"Healthy {seconds:.2f} s after the approval.")
        await self._look(Stage.COMPLETED)
        return seconds

    async def _roll_back(self) -> float:
        image, stable = expectations.SECOND_CANARY_IMAGE, manifests.CANARY_IMAGE
        self._narration.heading(f"4b. Change the image to {image}, and back")
        before = lives.staying(await self._cluster.list("pods", NAMESPACE), stable)
        await self._update(image)
        await self._look(Stage.WAITING)
        self._narration.say("Putting the old image back is all it takes to roll back.")
        changed = self._moment("deployments", lambda found: _image(found) == stable)
        ended = self._moment("rollouts", lambda found: _phase(found) == "Healthy")
        async with asyncio.TaskGroup() as group:
            first, last = group.create_task(changed), group.create_task(ended)
            await self._set_image(stable)
        seconds = last.result() - first.result()
        self._narration.say(f"Healthy {seconds:.2f} s after the image was put back.")
        await self._look(Stage.ROLLED_BACK)
        after = lives.staying(await self._cluster.list("pods", NAMESPACE), stable)
        same = len(before & after)
        self._narration.say(
            f"{same} of {len(before)} stable pods kept their uid, start time and count of restarts."
        )
        self._narration.check("no stable pod was restarted", lives.losses(before, after))
        return seconds

    # -- what they consist of -------------------------------------------------

    async def _update(self, image: str) -> tuple[float, str]:
        """Change the image; return the seconds until the release waits, and the command to approve it."""
        changed = self._moment("deployments", lambda found: _image(found) == image)
        waits = self._moment("rollouts", lambda found: (_phase(found), _state(found)) == _WAITING)
        async with asyncio.TaskGroup() as group:
            first, last = group.create_task(changed), group.create_task(waits)
            said = await self._set_image(image)
        seconds = last.result() - first.result()
        self._narration.say(f"StepPaused {seconds:.2f} s after the update.")
        found = _APPROVAL.search(said)
        self._narration.check("the warning tells how to approve", [] if found else ["it does not"])
        return seconds, found.group() if found else ""

    async def _set_image(self, image: str) -> str:
        name = manifests.NAME
        return await self._terminal.run("kubectl", "set", "image", f"deployment/{name}", f"{name}={image}")

    async def _look(self, stage: Stage) -> None:
        """Print the tables of a stage and compare them."""
        for resource, rows in expectations.TABLES[stage].items():
            table = await self._terminal.table(resource)
            # Every cluster has a Service of this name, for its API server.
            found = tables.differences(table, rows, ignored=["kubernetes"])
            self._narration.check(f"kubectl get {resource} ({stage.value})", found)

    async def _moment(self, resource: str, predicate: Predicate) -> float:
        """Wait until something is so; return when it was seen."""
        await self._cluster.wait_for(resource, NAMESPACE, manifests.NAME, predicate, _PATIENCE)
        return time.monotonic()

    @asynccontextmanager
    async def _load(self) -> AsyncIterator[None]:
        async with self._data_plane.load(manifests.HOST, self._choices.rate) as account:
            yield
        self._add(account.total, account.reasons)

    def _add(self, sent: int, losses: Counter[str]) -> None:
        self._sent += sent
        self._losses += losses


_WAITING = ("Progressing", "StepPaused")


def _split_differences(traffic: Traffic, count: int) -> Iterator[str]:
    """Compare shares of requests; Traefik deals in turns, and a count may begin or end within one."""
    canary = round(count * expectations.WEIGHT / 100)
    expected = {manifests.STABLE_IMAGE: count - canary, manifests.CANARY_IMAGE: canary}
    for image in sorted(expected.keys() | traffic.by_image.keys()):
        found = traffic.by_image[image]
        if abs(found - expected.get(image, 0)) > _TURN:
            yield f"{found} by {image} instead of {expected.get(image, 0)}"


def _phase(rollout: JsonObject) -> str:
    return str(rollout.get("status", {}).get("phase", ""))


def _state(rollout: JsonObject) -> str:
    return str(rollout.get("status", {}).get("currentStepState", ""))


def _annotations(found: JsonObject) -> JsonObject:
    return found["metadata"].get("annotations") or {}


def _image(deployment: JsonObject) -> str:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
