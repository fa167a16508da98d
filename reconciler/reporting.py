"""What a release tells people: events on its Rollout."""

from dataclasses import dataclass

from kube.errors import KubeError
from kube.events import Event as KubeEvent
from kube.events import EventWriter, Regarding
from kube.wire import JsonObject
from rollout.actions import Event


@dataclass(frozen=True)
class Reporter:
    """Records events; one that is reported twice shows once."""

    writer: EventWriter

    def report(self, rollout: JsonObject, event: Event) -> None:
        """Record what a plan wants people to know."""
        self._record(rollout, event.reason, event.note, event.key, warning=event.warning)

    def report_refusal(self, rollout: JsonObject, error: KubeError) -> None:
        """Record that the API server refuses a write until somebody changes something."""
        self._record(rollout, "WriteRefused", str(error), key=f"refused/{error}", warning=True)

    def _record(self, rollout: JsonObject, reason: str, note: str, key: str, *, warning: bool) -> None:
        self.writer.record(
            KubeEvent(
                regarding=Regarding.of(rollout),
                type="Warning" if warning else "Normal",
                reason=reason,
                action="Release",
                note=note,
                key=key,
            )
        )
