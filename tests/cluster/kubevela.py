"""The walkthrough's Application under the client that stands for KubeVela, deployed and looked at."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sandbox.names import JsonObject
from tests.cluster.application import V1, Application, image_of_pod
from tests.vela import walkthrough
from tests.vela.core import RUNNING, Vela

QUICK = walkthrough.rollout(grace=0)
"""The walkthrough's trait, for proxies that notice changes at once."""

Build = Callable[[str], dict[str, Any]]
"""Makes the Application of an image."""


@dataclass(frozen=True)
class UnderVela:
    """An Application in a namespace of its own, and the controller that looks at it every second."""

    app: Application
    vela: Vela
    build: Build

    async def up(self, image: str, *, asked: JsonObject | None = None, **spec: Any) -> None:
        """Apply the Application with an image; ``asked``: annotations of it; ``spec``: a workflow."""
        application = self.build(image)
        application["spec"] |= spec
        if asked:
            application["metadata"]["annotations"] = asked
        await self.vela.up(application)

    async def runs(self, image: str) -> None:
        """Wait until the Application runs, with this image alone."""
        await self.vela.reaches(RUNNING, self.app.patience)
        await self.app.serves(image)

    async def by_image(self) -> Counter[str]:
        """Count the pods of each image."""
        return Counter(image_of_pod(each) for each in await self.app.pods())


def with_traits(app: Application, *traits: dict[str, Any]) -> Build:
    """Build the walkthrough's Application with other traits than its own."""
    place = {"namespace": app.namespace, "host": app.host}
    return lambda image: walkthrough.application(image, *traits, **place)


def published(build: Build) -> Build:
    """Name a version of each image, which a workflow can be rolled back to."""

    def named(image: str) -> dict[str, Any]:
        application = build(image)
        application["metadata"]["annotations"] = {"app.oam.dev/publishVersion": image.rpartition(":")[2]}
        return application

    return named


@asynccontextmanager
async def deployed(app: Application, build: Build | None = None) -> AsyncIterator[UnderVela]:
    """Deploy the first version, and wait until all is at rest."""
    vela = Vela(app.cluster.api)
    under = UnderVela(app, vela, build or with_traits(app, QUICK))
    async with vela.running():
        await under.up(V1)
        await under.runs(V1)
        yield under
        if vela.refused:
            raise AssertionError(f"vela was refused: {[str(each) for each in vela.refused]}")


@asynccontextmanager
async def waiting(app: Application, image: str, build: Build | None = None) -> AsyncIterator[UnderVela]:
    """Deploy the first version, then another one, and wait until its first step waits for approval."""
    async with deployed(app, build) as under:
        await under.up(image)
        await app.waits(1, 1)
        yield under
