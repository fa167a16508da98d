"""How many pods were ready at each moment: judged on every watch event, never sampled."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sandbox.names import JsonObject
from sandbox.observation import Record
from tests.cluster.application import Application, image_of_pod, is_ready, present

Belongs = Callable[[JsonObject], bool]


@dataclass(frozen=True)
class Readiness:
    """Every event of the namespace's pods; complete when its block ends."""

    pods: Record
    listed: int
    """How many of the events were the pods that existed already: only after them a count is one."""

    def lowest(self, *images: str) -> int:
        """Return how few pods of these images, or of any, were ready at once."""
        counted = set(images)
        return min(self._sizes(lambda pod: is_ready(pod) and (not counted or image_of_pod(pod) in counted)))

    def most(self, image: str) -> int:
        """Return how many pods of an image there were at once, ready or not."""
        return max(self._sizes(lambda pod: image_of_pod(pod) == image))

    def ever(self, decide: Callable[[list[JsonObject]], bool]) -> bool:
        """Return whether the pods, taken together, were so after any event."""
        return any(
            decide(present(self.pods.events[:number])) for number in range(1, len(self.pods.events) + 1)
        )

    def counts(self) -> Iterator[tuple[int, int]]:
        """Return how many pods were ready after each event, by the event's resourceVersion."""
        versions = [int(each["metadata"]["resourceVersion"]) for each in self.pods.objects]
        sizes = list(self._sizes(is_ready))
        return zip(versions[-len(sizes) :], sizes, strict=True)

    def _sizes(self, belongs: Belongs) -> Iterator[int]:
        members: set[str] = set()
        for number, event in enumerate(self.pods.events, start=1):
            uid = event.object["metadata"]["uid"]
            members.discard(uid)
            if event.type != "DELETED" and belongs(event.object):
                members.add(uid)
            if number >= self.listed:
                yield len(members)


@asynccontextmanager
async def counting(app: Application) -> AsyncIterator[Readiness]:
    """Record the pods from now on."""
    async with app.cluster.record("pods", app.namespace) as pods:
        yield Readiness(pods, len(pods.events))
