"""A user's own object of any kind, made to carry the canary's share by a script."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rollout import messages, names
from rollout.actions import Event, Patch, Target
from rollout.release import services
from rollout.release.facts import Facts, guarded
from rollout.release.outcome import DONE, Doing, Outcome
from rollout.route_kinds import RouteRef
from rollout.snapshot import RouteObject
from rollout.spec import TrafficRoutingRef
from rollout.status import format_instant
from rollout.traffic import asked, custom, script_book
from rollout.traffic.custom import Backends, Data, Record
from rollout.traffic.lua import Failure, Script
from rollout.traffic.routing import ALL_STABLE, Routing, wanted


@dataclass(frozen=True)
class CustomRoute:
    """An object that a customNetworkRef names (see ``rollout.traffic.custom``)."""

    facts: Facts
    ref: TrafficRoutingRef
    of: RouteRef

    @property
    def problem(self) -> str | None:
        """Say what is missing or does not fit, and whether the script can say every step."""
        unseen, found = self.facts.snapshot.unseen.get(self.of.of_kind), self._found
        if unseen:
            return unseen.why
        if found is None or found.deleting:
            return messages.route_missing(self.of.kind, self.of.name)
        if found.routed_by not in {None, self.facts.rollout.target.name}:
            return messages.routed_elsewhere(self.of.kind, self.of.name, str(found.routed_by))
        original = self._original
        return self._misfit(original) if original else messages.original_lost(self.of.kind, self.of.name)

    def _misfit(self, original: Data) -> str | None:
        if self._route is None and custom.mentions(self._backends.mark, original):
            return messages.route_occupied(self.of.kind, self.of.name, self._backends.mark)
        if len(custom.remembered(original)) > custom.LARGEST_ORIGINAL:
            return messages.object_too_large(self.of.kind, self.of.name, custom.LARGEST_ORIGINAL)
        return self._failure(original)

    @property
    def observed(self) -> Target | None:
        """Give the user's object."""
        return self._found.target if self._found else None

    @property
    def carries(self) -> bool:
        """Whether it bears our marks."""
        return self._route is not None

    @property
    def leaving(self) -> str | None:
        """Say that the object is being deleted."""
        gone = self._route and self._route.deleting
        return messages.waits_for_removal(self.of.kind, self.of.name) if gone else None

    @property
    def reaches_canary(self) -> bool:
        """Whether it says anything else than it did before the release."""
        return self._route is not None and self.live != ALL_STABLE

    @property
    def live(self) -> Routing | None:
        """Read the routing in force from our marks; the original spec sends nothing to the canary."""
        if self._route is None:
            return ALL_STABLE
        original, manifest = custom.original_of(self._route.manifest), self._route.manifest
        if original and custom.merge_patch(manifest.get("spec"), original.spec) is None:
            return ALL_STABLE
        return self._record.routing if self._record and custom.is_ours(manifest, self._record) else None

    @property
    def changed_at(self) -> str | None:
        """Read the stamp, written together with the routing."""
        annotations = (self._route.manifest["metadata"].get("annotations") or {}) if self._route else {}
        return annotations.get(names.CHANGED_AT)

    @property
    def unnoticed(self) -> str | None:
        """Nothing is known of what such an object's controller made of it."""
        return None

    def said_by(self, routing: Routing) -> Routing:
        """Give all of it."""
        return routing

    def begin(self) -> Outcome:
        """Write our marks alone."""
        return self._write(ALL_STABLE)

    def say(self, routing: Routing) -> Outcome:
        """Make the object what its original, the script and the routing say."""
        return self._write(routing) if self._route else DONE

    def silence(self) -> Outcome:
        """Make the object its original again; no script is asked."""
        return self._write(ALL_STABLE) if self._route else DONE

    def restamp(self) -> Outcome:
        """Write the stamp alone."""
        if self._route is None:
            return DONE
        return self._patched(self._route, {}, {names.CHANGED_AT: self._now}, "its time of change lies ahead")

    # --- parts ---------------------------------------------------------------------------------------

    @property
    def _found(self) -> RouteObject | None:
        return self.facts.snapshot.route_objects.get(self.of)

    @property
    def _route(self) -> RouteObject | None:
        found = self._found
        return found if found and found.routed_by == self.facts.rollout.target.name else None

    @cached_property
    def _record(self) -> Record | None:
        return custom.record_of(self._route.manifest) if self._route else None

    @property
    def _replaced(self) -> bool:
        """Whether somebody has put a spec of their own in the place of ours."""
        record = self._record
        return bool(self._route and record and custom.is_new_original(self._route.manifest, record))

    @property
    def _original(self) -> Data | None:
        """What the object goes back to: what it was, or what its owner has made of it since."""
        found = self._found
        if found is None:
            return None
        if self._route is None or self._replaced:
            return custom.data_of(found.manifest)
        return custom.original_of(found.manifest)

    @cached_property
    def _script(self) -> Script | Failure:
        return script_book.for_kind(self.of.of_kind, self.facts.snapshot.scripts)

    @property
    def _backends(self) -> Backends:
        canary, stable = self.facts.canary_set, self.facts.stable
        return Backends(
            self.facts.rollout.namespace,
            self.ref.service,
            services.canary_name(self.facts, self.ref),
            canary.hash if canary else None,
            stable.hash if stable else None,
        )

    @property
    def _now(self) -> str:
        return format_instant(self.facts.snapshot.now)

    def _failure(self, original: Data) -> str | None:
        for step in self.facts.spec.steps:
            rendered = custom.render(original, wanted(step), self._script, self._backends)
            if isinstance(rendered, Failure):
                return messages.script_failed(self.of.kind, self.of.name, rendered.why)
        return None

    def _write(self, routing: Routing) -> Outcome:
        found, original = self._found, self._original
        if found is None:
            return DONE
        if original is None:
            return Doing(messages.original_lost(self.of.kind, self.of.name), blocked=True)
        rendered = custom.render(original, routing, self._script, self._backends)
        if isinstance(rendered, Failure):
            why = messages.script_failed(self.of.kind, self.of.name, rendered.why)
            return Doing(why, blocked=True)
        return self._written(found, original, rendered, routing)

    def _written(self, found: RouteObject, original: Data, rendered: Data, routing: Routing) -> Outcome:
        live = found.manifest
        change = custom.change(live, original, rendered, self._record)
        record = custom.record(live, original, rendered, routing, self._backends)
        if self._stands(record, change):
            return DONE
        marks = {
            names.ORIGINAL_SPEC: custom.remembered(original),
            names.ROUTED_BY: self.facts.rollout.target.name,
            names.RELEASE: self.facts.release,
            names.ROUTING: record.text,
        }
        # What only brings the marks up to date is nothing that a data plane could notice.
        if change or self._record is None or self._record.routing != routing:
            marks[names.CHANGED_AT] = self._now
        return self._patched(found, change, marks, f"send {routing.weight} % to the canary")

    def _stands(self, record: Record, change: dict[str, Any]) -> bool:
        """Tell whether it is all there already; what the API server has filled in since is no difference."""
        before, route = self._record, self._route
        if before is None or route is None or before.routing != record.routing or self._replaced:
            return False
        annotations = route.manifest["metadata"]["annotations"]
        if annotations.get(names.RELEASE) != self.facts.release or custom.original_of(route.manifest) is None:
            return False
        untouched = before.generation == custom.generation_of(route.manifest)
        return not change or (untouched and before.digest == record.digest and "metadata" not in change)

    def _patched(
        self, found: RouteObject, change: dict[str, Any], marks: dict[str, str], why: str
    ) -> Outcome:
        metadata = change.get("metadata", {})
        annotations = {**metadata.get("annotations", {}), **marks}
        whole = {**change, "metadata": {**metadata, "annotations": annotations}}
        # Only what changes more than our marks: without them nobody would know whose the asking is.
        written = asked.asking(found.manifest, whole) if change and self._route else whole
        patch = Patch(found.target, guarded(found.target, written), why=why)
        return Doing(f"changes {self.of.kind} {self.of.name}: {why}", (patch,), events=self._warnings(found))

    def _warnings(self, found: RouteObject) -> tuple[Event, ...]:
        """Tell people when their edit is undone, or taken for what the object is now."""
        if self._route is None or self.live is not None:
            return ()
        text = messages.route_replaced if self._replaced else messages.route_edited
        key = f"{self.facts.release}/{self.of.kind}/{self.of.name}/{custom.generation_of(found.manifest)}"
        return (Event("RouteEdited", text(self.of.kind, self.of.name), key=key, warning=True),)
