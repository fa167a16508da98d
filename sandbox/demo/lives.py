"""Which pods serve a Deployment, told apart so that a restart cannot pass unseen."""

from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.names import JsonObject


@dataclass(frozen=True, slots=True)
class Life:
    """One life of one pod: another uid, start or count of restarts is another life."""

    name: str
    uid: str
    image: str
    started: str
    restarts: int

    @classmethod
    def of(cls, pod: JsonObject) -> "Life":
        """Read it from a pod."""
        status = pod["status"]
        restarts = sum(each["restartCount"] for each in status.get("containerStatuses", ()))
        image = pod["spec"]["containers"][0]["image"]
        return cls(
            pod["metadata"]["name"], pod["metadata"]["uid"], image, status.get("startTime", ""), restarts
        )


def staying(pods: list[JsonObject], image: str) -> frozenset[Life]:
    """Return the lives of the pods of an image that are not on their way out."""
    lives = {Life.of(pod) for pod in pods if not pod["metadata"].get("deletionTimestamp")}
    return frozenset(life for life in lives if life.image == image)


def losses(before: frozenset[Life], after: frozenset[Life]) -> Iterator[str]:
    """Name each pod that did not live on."""
    present = {life.name: life for life in after}
    for life in sorted(before - after, key=lambda life: life.name):
        now = present.get(life.name)
        yield f"pod {life.name} " + (f"was restarted: {life} became {now}" if now else "is gone")
