"""The walkthrough's application in a namespace of its own: deployed, changed, waited for, looked at."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus

from sandbox import manifests
from sandbox.api import STRATEGIC_MERGE_PATCH, Event
from sandbox.cluster import Cluster
from sandbox.demo.tables import Table, parse
from sandbox.names import READY_AFTER, JsonObject
from sandbox.observation import Predicate
from sandbox.resources import path

NAME = manifests.NAME
V1, V2, V3 = manifests.STABLE_IMAGE, manifests.CANARY_IMAGE, "cilium/echoserver:1.10.4"
ALPHA = "rollouts.kruise.io/v1alpha1/rollouts"
COMPLETED = "Rollout has been completed, and succeed"
ROLLED_BACK = "The workload has been rolled back and the rollout process will be cancelled"
APPROVE = "sluice.dev/approve"
WEIGHT = "nginx.ingress.kubernetes.io/canary-weight"

_SHOWN = ("deployment", "service", "ingress", "rollout")

SECONDS = 30.0
"""For any step of the product: it takes one or two, a loaded machine more."""


@dataclass(frozen=True)
class Application:
    """Deployment, Service, Ingress and Rollout `echoserver` of one namespace."""

    cluster: Cluster
    namespace: str
    patience: float = SECONDS

    @property
    def host(self) -> str:
        """A host that no other test's Ingress has: the data plane serves all namespaces."""
        return f"{self.namespace}.example.com"

    # -- what a user does -----------------------------------------------------

    async def deploy(
        self, rollout: JsonObject | None = None, *, replicas: int = 5, deployment: JsonObject | None = None
    ) -> None:
        """Deploy the first version with its Rollout, and wait until both are at rest."""
        await self.create(manifests.service(), manifests.ingress(host=self.host))
        await self.create(deployment or manifests.deployment(replicas=replicas))
        await self.wait("deployments", manifests.available(replicas))
        await self.create(rollout or manifests.rollout(grace_period_seconds=0))
        await self.governed()

    async def governed(self) -> None:
        """Wait until the Rollout is healthy and its Deployment carries the label."""
        await self.wait("rollouts", lambda found: phase(found) == "Healthy")
        await self.wait("deployments", is_labelled)

    async def create(self, *objects: JsonObject) -> None:
        """Create objects in the namespace, each in the version it is written in."""
        for each in objects:
            await self.cluster.create(_resource(each), self.namespace, each)

    async def set_image(self, image: str) -> JsonObject:
        """Change the image as kubectl does."""
        container = {"name": NAME, "image": image}
        return await self.change({"spec": {"template": {"spec": {"containers": [container]}}}})

    async def change(self, patch: JsonObject) -> JsonObject:
        """Change the Deployment by a strategic merge patch."""
        place = path("deployments", self.namespace, NAME)
        return await self.cluster.api.patch(place, patch, STRATEGIC_MERGE_PATCH)

    async def change_rollout(self, patch: JsonObject) -> JsonObject:
        """Change the Rollout by a merge patch."""
        return await self.cluster.patch("rollouts", self.namespace, NAME, patch)

    async def approve(self) -> str:
        """Approve the step at which the release waits, by the annotation; return what was approved."""
        release, step = await self.position()
        await self.annotate(f"{release}/{step}")
        return f"{release}/{step}"

    async def annotate(self, approval: str | None) -> None:
        """Set the approval annotation to any value."""
        await self.change_rollout({"metadata": {"annotations": {APPROVE: approval}}})

    async def write_status(self, canary_status: JsonObject) -> None:
        """Write the status as kubectl-kruise does."""
        place = path("rollouts", self.namespace, NAME) + "/status"
        await self.cluster.api.patch(place, {"status": {"canaryStatus": canary_status}})

    async def jump(self, step: int) -> None:
        """Ask for a step by number, as `kubectl-kruise rollout undo --fast` does."""
        await self.write_status({"nextStepIndex": step})

    async def rewrite(self, *steps: JsonObject, resource: str = "rollouts") -> None:
        """Replace the steps of the plan, in the version that `resource` names."""
        patch = {"spec": {"strategy": {"canary": {"steps": list(steps)}}}}
        await self.cluster.patch(resource, self.namespace, NAME, patch)

    async def scale(self, replicas: int) -> None:
        """Change the number of replicas as `kubectl scale` and the HPA's controller do: by /scale."""
        place = path("deployments", self.namespace, NAME) + "/scale"
        await self.cluster.api.patch(place, {"spec": {"replicas": replicas}})

    async def kubectl(self, *arguments: str, stdin: JsonObject | None = None) -> str:
        """Run kubectl in the namespace; return all that it printed."""
        text = None if stdin is None else json.dumps(stdin)
        completed = await self.cluster.kubectl("-n", self.namespace, *arguments, stdin=text)
        return completed.stderr + completed.stdout

    # -- what there is --------------------------------------------------------

    async def tables(self) -> dict[str, Table]:
        """Return what `kubectl get` shows, by kind; all in one call, a start of kubectl takes long."""
        asked = ",".join(_SHOWN)
        text = (await self.cluster.kubectl("-n", self.namespace, "get", asked)).stdout
        found = {kind: Table((), {}) for kind in _SHOWN}
        for part in text.strip().split("\n\n"):
            table = parse(part)
            # Of several kinds at once kubectl prints deployment.apps/echoserver.
            kind = re.split("[./]", table.names[0])[0]
            rows = {name.partition("/")[2]: cells for name, cells in table.rows.items()}
            found[kind] = Table(table.columns, rows)
        return found

    async def get(self, resource: str, name: str = NAME) -> JsonObject:
        """Read an object that exists."""
        found = await self.cluster.get(resource, self.namespace, name)
        if found is None:
            raise LookupError(f"{resource}/{name} does not exist in {self.namespace}")
        return found

    async def find(self, resource: str, name: str) -> JsonObject | None:
        """Read an object that may not exist."""
        return await self.cluster.get(resource, self.namespace, name)

    async def pods(self, image: str | None = None) -> list[JsonObject]:
        """List the pods that are not on their way out, of an image when one is given."""
        found = await self.cluster.list("pods", self.namespace)
        staying = [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]
        return [pod for pod in staying if image in {None, image_of_pod(pod)}]

    async def position(self) -> tuple[str, int]:
        """Return the id of the release, and the step it is at."""
        status = (await self.get("rollouts"))["status"]
        return await self.release(), int(status["currentStepIndex"])

    async def release(self) -> str:
        """Return the id of the present release, which is in the canary's name."""
        annotations = (await self.get("deployments"))["metadata"]["annotations"]
        return str(annotations["sluice.dev/release"])

    async def canary(self) -> JsonObject:
        """Return the canary Deployment when there is one: the status tells of it before it is created."""
        name = f"{NAME}-{await self.release()}"
        return await self.wait("deployments", lambda found: bool(found["metadata"]["uid"]), name)

    async def canary_pods(self) -> int:
        """Return how many pods of the canary Deployment are available."""
        return int((await self.canary())["status"].get("availableReplicas", 0))

    async def weight(self) -> int | None:
        """Return the canary Ingress's weight; None when there is no such Ingress."""
        found = await self.cluster.get("ingresses", self.namespace, f"{NAME}-canary")
        if found is None:
            return None
        return int(found["metadata"]["annotations"].get(WEIGHT, 0))

    # -- waiting --------------------------------------------------------------

    async def wait(
        self, resource: str, predicate: Predicate, name: str = NAME, seconds: float | None = None
    ) -> JsonObject:
        """Wait until an object is so."""
        return await self.cluster.wait_for(
            resource, self.namespace, name, predicate, seconds or self.patience
        )

    async def waits(self, step: int, steps: int) -> JsonObject:
        """Wait until a step waits for approval, said with the contract's words."""
        text = f"Rollout is in step({step}/{steps}), and you need manually confirm to enter the next step"
        paused = shows("Progressing", step, "StepPaused", text)
        release = await self.release()
        return await self.wait("rollouts", lambda found: paused(found) and revision(found).endswith(release))

    async def canary_has(self, pods: int) -> JsonObject:
        """Wait until the canary Deployment has so many pods, all available."""
        name = (await self.canary())["metadata"]["name"]
        return await self.wait("deployments", manifests.available(pods), name=name)

    async def weighs(self, weight: int) -> None:
        """Wait until the canary Ingress carries a weight."""
        name = f"{NAME}-canary"
        await self.wait(
            "ingresses", lambda found: found["metadata"]["annotations"].get(WEIGHT) == f"{weight}", name
        )

    async def completes(self, steps: int = 1) -> JsonObject:
        """Wait until the release has succeeded."""
        return await self.wait("rollouts", shows("Healthy", steps, "Completed", COMPLETED))

    async def rolled_back(self, step: int = 1, state: str = "StepPaused") -> JsonObject:
        """Wait until the release has been taken back."""
        return await self.wait("rollouts", shows("Healthy", step, state, ROLLED_BACK))

    async def serves(self, image: str, pods: int = 5) -> None:
        """Wait until there are so many pods, all of one image, none on its way out."""
        await self.wait_for_all(
            "pods",
            lambda found: (
                [image_of_pod(pod) for pod in found] == [image] * pods
                and not any(pod["metadata"].get("deletionTimestamp") for pod in found)
            ),
        )

    async def serves_requests(self) -> None:
        """Wait until the data plane knows the host."""
        data_plane = await self.cluster.data_plane()
        await data_plane.answers(self.host, lambda found: found.status == HTTPStatus.OK)

    async def answers_only(self, image: str) -> None:
        """Wait until the data plane sends requests to one image alone."""
        data_plane = await self.cluster.data_plane()
        await data_plane.divides(self.host, 20, lambda found: set(found.by_image) == {image})

    async def passes(self, seconds: float) -> None:
        """Let time pass as the cluster counts it: a pod that takes so long to become ready has done so."""
        container = {"name": "clock", "image": V1, "ports": [{"containerPort": manifests.PORT}]}
        metadata = {"name": "clock", "annotations": {READY_AFTER: str(seconds)}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
        await self.create(pod)
        await self.wait("pods", is_ready, name="clock")
        await self.cluster.api.delete(path("pods", self.namespace, "clock"), {"gracePeriodSeconds": 0})

    async def wait_for_all(
        self, resource: str, decide: Callable[[list[JsonObject]], bool], seconds: float | None = None
    ) -> None:
        """Wait until the objects of a collection, taken together, are so."""
        async with self.cluster.record(resource, self.namespace) as record:
            if not decide(present(record.events)):
                await record.wait_for(lambda _: decide(present(record.events)), seconds or self.patience)


def present(events: Iterable[Event]) -> list[JsonObject]:
    """Return the objects that exist after all these events."""
    found: dict[str, JsonObject] = {}
    for event in events:
        uid = event.object["metadata"]["uid"]
        found.pop(uid, None)
        if event.type != "DELETED":
            found[uid] = event.object
    return list(found.values())


# -- predicates -----------------------------------------------------------------------------------


def phase(rollout: JsonObject) -> str:
    """Return the column STATUS."""
    return str(rollout.get("status", {}).get("phase", ""))


def state(rollout: JsonObject) -> str:
    """Return the column CANARY_STATE."""
    return str(rollout.get("status", {}).get("currentStepState", ""))


def message(rollout: JsonObject) -> str:
    """Return the column MESSAGE."""
    return str(rollout.get("status", {}).get("message", ""))


def revision(rollout: JsonObject) -> str:
    """Return which revision a Rollout's status speaks of; the release's id is its end."""
    return str(rollout.get("status", {}).get("canaryStatus", {}).get("canaryRevision", ""))


def shows(expected: str, step: int, step_state: str, text: str) -> Predicate:
    """Return whether a Rollout's four columns are so."""
    columns = (expected, step, step_state, text)
    return lambda found: (
        (phase(found), found.get("status", {}).get("currentStepIndex"), state(found), message(found))
        == columns
    )


def says(text: str) -> Predicate:
    """Return whether a Rollout's MESSAGE is so."""
    return lambda found: message(found) == text


def is_labelled(deployment: JsonObject) -> bool:
    """Whether a Deployment carries the label by which the strict hook finds it."""
    return "rollouts.kruise.io/workload-type" in deployment["metadata"].get("labels", {})


def is_paused(deployment: JsonObject) -> bool:
    """Whether a Deployment is paused."""
    return bool(deployment["spec"].get("paused"))


def is_ready(pod: JsonObject) -> bool:
    """Whether a pod is ready and stays."""
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def image_of(deployment: JsonObject) -> str:
    """Return the image of a Deployment's template."""
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def image_of_pod(pod: JsonObject) -> str:
    """Return the image that a pod runs."""
    return str(pod["spec"]["containers"][0]["image"])


def names(found: Iterable[JsonObject]) -> set[str]:
    """Return the names of objects."""
    return {each["metadata"]["name"] for each in found}


def _resource(manifest: JsonObject) -> str:
    plural = {"Ingress": "ingresses"}.get(manifest["kind"], manifest["kind"].lower() + "s")
    return f"{manifest['apiVersion']}/{plural}"
