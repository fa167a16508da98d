"""What vela-core does with an Application: workflow, health, state keeping, garbage.

One Application, looked at whenever a test says so, or in the background as often as the real one would
under its shortest re-sync. Every request is sent to the real API server.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from sandbox.api import MERGE_PATCH, STRATEGIC_MERGE_PATCH, Api, ApiError
from sandbox.resources import path
from tests.vela import writing
from tests.vela.applications import Component, render
from tests.vela.definitions import definition
from tests.vela.health import Health, judge

JsonObject = dict[str, Any]

RUNNING, BUSY, SUSPENDED, UNHEALTHY = "running", "runningWorkflow", "workflowSuspending", "unhealthy"
_TOGETHER = 10
"""How many objects are written at a time."""
_STEPS = ("canary-deploy",)
"""Those of the addon."""
_PLURALS = {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies", "HelmRepository": "helmrepositories"}


@dataclass(frozen=True)
class Request:
    """A write that was sent, dry runs included."""

    verb: str
    place: str
    dry: bool


@dataclass(frozen=True)
class Revision:
    """An Application, and what was applied for it."""

    application: JsonObject
    tracked: dict[str, JsonObject]
    components: Sequence[Component]


@dataclass
class Vela:
    """The controller, and one Application."""

    api: Api
    application: JsonObject = field(default_factory=dict)
    number: int = 0
    phase: str = ""
    health: Sequence[Health] = ()
    requests: list[Request] = field(default_factory=list)
    refused: list[ApiError] = field(default_factory=list)
    """What the API server did not do for it in the background; it tries again at the next look."""
    chance: random.Random = field(default_factory=random.SystemRandom)
    tracked: dict[str, JsonObject] = field(default_factory=dict)
    """What was applied, by its place: what state keeping restores, and garbage when nobody wants it."""
    succeeded: list[Revision] = field(default_factory=list)
    """Those whose workflow came to its end."""
    _looked: asyncio.Event = field(default_factory=asyncio.Event)
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)
    """An Application is reconciled once at a time."""
    _components: Sequence[Component] = ()
    _step: int = 0

    # --- what a user does ------------------------------------------------------------------------

    async def up(self, application: JsonObject) -> None:
        """Create or replace the Application; its workflow begins anew with another spec.

        Where it names a version to publish, with another one of these instead.
        """
        async with self._one:
            before, self.application = self.application, application
            if _revision(before) == _revision(application):
                return
            self.number += 1
            self.phase, self._step = BUSY, 0
        await self.look()

    async def delete(self) -> None:
        """Delete the Application: every object at the same moment, but those that a policy keeps."""
        async with self._one:
            self.phase = ""
            kept = _kept(self.application)
            places = [place for place, each in self.tracked.items() if each["kind"] not in kept]
            self.chance.shuffle(places)
            self.tracked.clear()
            await asyncio.gather(*(self._delete(place) for place in places))

    def resume(self) -> None:
        """Go on with a workflow that waits to be resumed."""
        if self.phase == SUSPENDED:
            self.phase = BUSY
            if self._steps[self._step]["type"] == "suspend":
                self._step += 1

    def suspend(self) -> None:
        """Have the workflow wait: state is kept meanwhile."""
        if self.phase == BUSY:
            self.phase = SUSPENDED

    async def roll_back(self) -> None:
        """Go back to what succeeded before and has a version: not by a workflow, but by keeping that state.

        Without any, the latest revision is applied again, which changes nothing.
        """
        async with self._one:
            named = [each for each in self.succeeded if _version(each.application)]
            if not named:
                return
            before = named[-1]
            self.application, self.tracked = before.application, dict(before.tracked)
            self._components, self.phase = before.components, RUNNING

    async def reaches(self, phase: str, seconds: float) -> None:
        """Wait until the Application, looked at in the background, is in a phase."""
        async with asyncio.timeout(seconds):
            while self.phase != phase:
                await self.looked(seconds)

    async def looked(self, seconds: float) -> None:
        """Wait until the Application was looked at once more in the background, from the beginning."""
        async with asyncio.timeout(seconds):
            for _ in range(2):  # the first one may have begun before
                self._looked.clear()
                await self._looked.wait()

    @property
    def columns(self) -> tuple[str, str, str]:
        """PHASE, HEALTHY and STATUS, as `kubectl get applications` shows them."""
        healthy = all(each.healthy for each in self.health)
        return (
            self.phase,
            str(healthy).lower(),
            " ".join(each.message for each in self.health if each.message),
        )

    # --- what the controller does ----------------------------------------------------------------

    @asynccontextmanager
    async def running(self, seconds: float = 1.0) -> AsyncIterator[None]:
        """Look at the Application again and again."""

        async def look() -> None:
            while True:
                await asyncio.sleep(seconds)
                try:
                    await self.look()
                except ApiError as error:
                    self.refused.append(error)
                self._looked.set()

        async with beside(look()):
            yield

    async def look(self) -> None:
        """Do what one reconciliation does in the Application's phase."""
        async with self._one:
            if self.phase == BUSY:
                await self._work()
            elif self.phase in {RUNNING, UNHEALTHY}:
                self.health = await self._judged()
                self.phase = RUNNING if all(each.healthy for each in self.health) else UNHEALTHY
                await self._keep()
                await self._collect()
            elif self.phase == SUSPENDED:
                self.health = await self._judged()
                await self._keep()

    async def keep_state(self) -> None:
        """Restore every tracked object to what was applied; without a difference nothing is sent."""
        async with self._one:
            await self._keep()

    async def _keep(self) -> None:
        await self._write(list(self.tracked.values()), dry=False, hashed=False)

    @property
    def _steps(self) -> Sequence[JsonObject]:
        workflow = self.application["spec"].get("workflow")
        return workflow["steps"] if workflow else [{"type": "apply"}]

    async def _work(self) -> None:
        """Go through the workflow's steps as far as they are done."""
        while self.phase == BUSY and self._step < len(self._steps):
            step = self._steps[self._step]
            if step["type"] == "suspend":
                self.phase = SUSPENDED
                return
            wanted = _of_step(self.application, step)
            self._components = await asyncio.to_thread(render, wanted, self.number)
            if not await self._deployed() or not await self._goes_on(step):
                return
            self._step += 1
        if self.phase == BUSY:  # it may have been suspended meanwhile
            self.phase = RUNNING
            await self._collect()
            self.succeeded.append(Revision(self.application, dict(self.tracked), self._components))

    async def _deployed(self) -> bool:
        """Bring every component out, stage by stage: the next one begins when the one before is healthy.

        Traits of an early stage are not asked again afterwards.
        """
        done = [await self._staged(component) for component in self._components]
        self.health = await self._judged()
        return all(done)

    async def _goes_on(self, step: JsonObject) -> bool:
        """Do what a step does after its deployment, in its order: it lists, and may wait by what it found."""
        if step["type"] not in _STEPS:
            return True
        asked, parameter = definition(step["type"]), step["properties"]
        metadata = self.application["metadata"]
        context = {"name": metadata["name"], "namespace": metadata["namespace"]}
        found = {
            each: {"list": {"items": await self._listed(asked.render(each, parameter, context))}}
            for each in ("rollouts", "deployments")
        }
        waiting = await asyncio.to_thread(asked.render, "wait", parameter, context, **found)
        return bool(waiting["continue"])

    async def _staged(self, component: Component) -> bool:
        for stage in component.stages():
            if await self._applied(stage.objects()) and (await self._judge(stage)).healthy:
                continue
            await self._dispatch(list(stage.objects()))
            if not (await self._judge(stage)).healthy:
                return False
        return True

    async def _applied(self, objects: Iterable[JsonObject]) -> bool:
        """Tell whether objects are tracked, and there with the hash of what is rendered."""
        for wanted in objects:
            place = self._place(wanted)
            found = await self._find(place) if place in self.tracked else None
            if found is None or writing.render_hash(found) != writing.render_hash(wanted):
                return False
        return True

    async def _dispatch(self, objects: Sequence[JsonObject]) -> None:
        """Try every object, note it, and write it."""
        await self._write(objects, dry=True, hashed=True)
        self.tracked |= {self._place(each): each for each in objects}
        await self._write(objects, dry=False, hashed=True)

    async def _collect(self) -> None:
        """Delete what the present revision has no use for."""
        wanted = {self._place(each) for each in self._wanted()}
        garbage = [place for place in self.tracked if place not in wanted]
        await asyncio.gather(*(self._delete(place) for place in garbage))
        for place in garbage:
            del self.tracked[place]

    async def _judged(self) -> Sequence[Health]:
        return [await self._judge(each) for each in self._components]

    async def _judge(self, component: Component) -> Health:
        return await judge(component, lambda wanted: self._find(self._place(wanted)))

    def _wanted(self) -> Iterable[JsonObject]:
        return [each for component in self._components for each in component.objects()]

    # --- requests --------------------------------------------------------------------------------

    async def _write(self, objects: Sequence[JsonObject], *, dry: bool, hashed: bool) -> None:
        """Write objects in any order, several at a time; ``hashed``: not those whose hash is there."""
        limit = asyncio.Semaphore(_TOGETHER)

        async def write(wanted: JsonObject) -> None:
            async with limit:
                await self._apply(wanted, dry=dry, hashed=hashed)

        await asyncio.gather(*(write(each) for each in self.chance.sample(list(objects), len(objects))))

    async def _apply(self, wanted: JsonObject, *, dry: bool, hashed: bool) -> None:
        place = self._place(wanted)
        live = await self._find(place)
        query = "?dryRun=All" if dry else ""
        if live is None:
            collection = place.rpartition("/")[0]
            await self._send("POST", collection, query, writing.created(wanted))
            return
        if hashed and writing.render_hash(live) == writing.render_hash(wanted):
            return
        if change := writing.patch(wanted, live):
            kind = STRATEGIC_MERGE_PATCH if writing.is_built_in(wanted) else MERGE_PATCH
            await self._send("PATCH", place, query, change, kind)

    async def _send(
        self, verb: str, place: str, query: str, body: JsonObject, content_type: str = "application/json"
    ) -> None:
        self.requests.append(Request(verb, place, dry=bool(query)))
        await self.api.request(verb, place + query, body, content_type=content_type)

    async def _find(self, place: str) -> JsonObject | None:
        try:
            return dict(await self.api.get(place))
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    async def _listed(self, asked: JsonObject) -> list[JsonObject]:
        """List what a step asks for; without what no step looks at."""
        resource, chosen = asked["value"], asked["filter"]
        collection = path(f"{resource['apiVersion']}/{_plural(resource['kind'])}", chosen["namespace"])
        labels = ",".join(f"{key}={value}" for key, value in chosen["matchingLabels"].items())
        found = await self.api.get(f"{collection}?labelSelector={quote(labels)}")
        return [
            {
                "metadata": {key: each["metadata"][key] for key in ("name", "generation")},
                "spec": {"objectRef": each["spec"].get("objectRef")},
            }
            | ({"status": each["status"]} if "status" in each else {})
            for each in found["items"]
        ]

    async def _delete(self, place: str) -> None:
        self.requests.append(Request("DELETE", place, dry=False))
        try:
            await self.api.delete(place, {"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def _place(self, found: JsonObject) -> str:
        metadata, plural = found["metadata"], _plural(found["kind"])
        return path(f"{found['apiVersion']}/{plural}", metadata.get("namespace"), metadata["name"])


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do something without end while the block runs; what goes wrong in it, goes wrong here."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _plural(kind: str) -> str:
    return _PLURALS.get(kind, f"{kind.lower()}s")


def _revision(application: JsonObject) -> object:
    """Give what another revision differs in."""
    return _version(application) or application.get("spec")


def _version(application: JsonObject) -> str | None:
    found: str | None = (
        application.get("metadata", {}).get("annotations", {}).get("app.oam.dev/publishVersion")
    )
    return found


def _kept(application: JsonObject) -> set[str]:
    """Name the kinds that are not collected as garbage."""
    policies = application["spec"].get("policies", ())
    rules = [
        rule for each in policies if each["type"] == "garbage-collect" for rule in each["properties"]["rules"]
    ]
    return {
        kind for rule in rules if rule["strategy"] == "never" for kind in rule["selector"]["resourceTypes"]
    }


def _of_step(application: JsonObject, step: JsonObject) -> JsonObject:
    """Give the Application as a step of its workflow deploys it: canary-deploy adds a trait."""
    if step["type"] not in _STEPS:
        return application
    asked = step["properties"]
    spec = json.loads(json.dumps(application["spec"]))
    for component in spec["components"]:
        if component["name"] in (asked.get("components") or [component["name"]]):
            trait = {"rolloutType": "partition"} | {
                key: value for key, value in asked.items() if key in {"weight", "rolloutType"}
            }
            component.setdefault("traits", []).append({"type": "rolling-release", "properties": trait})
    return {**application, "spec": spec}
