"""The canary Ingress beside the user's: created for a release, deleted after it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollout import manifests, messages, names
from rollout.actions import Create, Patch, Target
from rollout.fields import MISSHAPEN
from rollout.release.facts import Facts, guarded
from rollout.release.outcome import DONE, Doing, Outcome
from rollout.snapshot import Ingress
from rollout.spec import TrafficRoutingRef
from rollout.status import format_instant
from rollout.traffic import nginx, script_book, scripted_ingress
from rollout.traffic.ingress_classes import CLASSES
from rollout.traffic.lua import Failure, Script
from rollout.traffic.routing import ALL_STABLE, Routing, wanted
from rollout.wire import JsonObject

_FIELDS = ("labels", "annotations")


@dataclass(frozen=True)
class IngressRoute:
    """An Ingress of the annotation family (see ``rollout.traffic.nginx``).

    One canary Ingress stands for all traffic routings that name the same Ingress: whichever of them looks
    at it sees and says the same.
    """

    facts: Facts
    ref: TrafficRoutingRef
    name: str

    @property
    def problem(self) -> str | None:
        """Say what is missing or does not fit."""
        stable = self._stable
        if stable is None or stable.deleting:
            return messages.ingress_missing(self.name)
        if not nginx.routes_to(stable.manifest, self.ref.service):
            by_default = nginx.falls_back_to(stable.manifest, self.ref.service)
            return messages.ingress_unrelated(self.name, self.ref.service, by_default=by_default)
        found = self.facts.snapshot.ingresses.get(self._canary_name)
        if found is None or found.owned:
            return self._unsaid(stable)
        return messages.not_ours("Ingress", self._canary_name, manifests.owning_rollout(found.manifest))

    @property
    def observed(self) -> Target:
        """Give the canary Ingress."""
        found = self.facts.snapshot.ingresses.get(self._canary_name)
        return found.target if found else Target.absent("Ingress", self._canary_name)

    @property
    def carries(self) -> bool:
        """Whether the canary Ingress exists."""
        return self._canary is not None

    @property
    def leaving(self) -> str | None:
        """Say that the canary Ingress is being deleted."""
        gone = self._canary and self._canary.deleting
        return messages.waits_for_removal("Ingress", self._canary_name) if gone else None

    @property
    def reaches_canary(self) -> bool:
        """Whether its annotations can send any request to the canary."""
        if self._canary is None:
            return False
        if scripted_ingress.said_on(self._canary.manifest):
            return self.live != ALL_STABLE
        return nginx.may_reach_canary(self._canary.manifest, self.ref.ingress_class)

    @property
    def live(self) -> Routing | None:
        """Read its annotations."""
        if self._canary is None:
            return ALL_STABLE
        manifest = self._canary.manifest
        if scripted_ingress.said_on(manifest):
            return scripted_ingress.read(manifest)
        return nginx.read(manifest, self.ref.ingress_class)

    @property
    def changed_at(self) -> str | None:
        """Read the stamp on the canary Ingress, written together with its routing."""
        annotations = (self._canary.manifest["metadata"].get("annotations") or {}) if self._canary else {}
        return annotations.get(names.CHANGED_AT)

    @property
    def unnoticed(self) -> str | None:
        """An Ingress says nothing of what its controller made of it."""
        return None

    def said_by(self, routing: Routing) -> Routing:
        """Give all of it."""
        return routing

    def begin(self) -> Outcome:
        """Create the canary Ingress."""
        manifest = self._render(ALL_STABLE)
        if isinstance(manifest, Failure):
            return self._failed(manifest)
        create = Create(manifest, why="carry the canary's share, none yet")
        return Doing(f"creates Ingress {self._canary_name}", (create,))

    def say(self, routing: Routing) -> Outcome:
        """Make the canary Ingress what the stable one and the routing say; what others added stays."""
        canary, manifest = self._canary, self._render(routing)
        if canary is None:
            return DONE
        if isinstance(manifest, Failure):
            return self._failed(manifest)
        keys = self._routing_keys(canary.manifest, manifest)
        change = _difference(canary.manifest, manifest, keys)
        if change is None:
            return DONE
        return self._patched(change, f"send {routing.weight} % to the canary")

    def silence(self) -> Outcome:
        """Write annotations alone: the stable Ingress, or the script, may be gone."""
        if self._canary is None:
            return DONE
        classtype = self.ref.ingress_class
        annotations: dict[str, Any] = scripted_ingress.silencing(self._canary.manifest) or {
            **dict.fromkeys(nginx.routing_keys(classtype)),
            **nginx.annotations(ALL_STABLE, classtype),
        }
        change = {"metadata": {"annotations": {**annotations, names.CHANGED_AT: self._now}}}
        return self._patched(change, "send everything to the stable Service")

    def restamp(self) -> Outcome:
        """Write the stamp alone."""
        change = {"metadata": {"annotations": {names.CHANGED_AT: self._now}}}
        return self._patched(change, "its time of change lies ahead")

    # --- parts ---------------------------------------------------------------------------------------

    @property
    def _canary_name(self) -> str:
        return self.name + names.CANARY_SUFFIX

    @property
    def _backends(self) -> dict[str, str]:
        """Give the canary Service of every Service that is routed by this Ingress."""
        others = (each.service for each in self.facts.spec.routings if each.ingress_name == self.name)
        return {service: service + names.CANARY_SUFFIX for service in (self.ref.service, *others)}

    @property
    def _stable(self) -> Ingress | None:
        return self.facts.snapshot.ingresses.get(self.name)

    @property
    def _canary(self) -> Ingress | None:
        found = self.facts.snapshot.ingresses.get(self._canary_name)
        return found if found and found.owned else None

    @property
    def _now(self) -> str:
        return format_instant(self.facts.snapshot.now)

    def _patched(self, change: JsonObject, why: str) -> Outcome:
        if self._canary is None:
            return DONE
        patch = Patch(self._canary.target, guarded(self._canary.target, change), why=why)
        return Doing(f"changes Ingress {self._canary_name}: {why}", (patch,))

    @property
    def _script(self) -> Script | None:
        """The users' script for the class, if they have one."""
        return script_book.for_ingress_class(self.ref.ingress_class, self.facts.snapshot.scripts)

    def _unsaid(self, stable: Ingress) -> str | None:
        """Say which routing of the release cannot be said in annotations of this class."""
        if self._script is None:
            known = self.ref.ingress_class in CLASSES
            return None if known else messages.ingress_class_unknown(self.ref.ingress_class, CLASSES)
        if len(self._backends) > 1:  # a script is told one canary Service, and says one thing of the Ingress
            return messages.ingress_shared(self.name, self.ref.ingress_class)
        for step in self.facts.spec.steps:
            if isinstance(found := self._scripted(self._script, stable, wanted(step)), Failure):
                return messages.script_failed("Ingress", self._canary_name, found.why)
        return None

    def _failed(self, failure: Failure) -> Outcome:
        return Doing(messages.script_failed("Ingress", self._canary_name, failure.why), blocked=True)

    def _routing_keys(self, *ingresses: JsonObject) -> frozenset[str]:
        said = [found for each in ingresses if (found := scripted_ingress.said_on(each))]
        scripted = {names.ROUTING, *(key for each in said for key in each.now)} if said else set[str]()
        # The built-in keys too: the script may have come, or gone, during the release.
        return nginx.routing_keys(self.ref.ingress_class) | scripted

    def _scripted(self, script: Script, stable: Ingress, routing: Routing) -> dict[str, Any] | Failure:
        manifest = nginx.copy(stable.manifest, self._backends)
        metadata, canary = manifest["metadata"], self._backends[self.ref.service]
        said = scripted_ingress.annotations(script, metadata["annotations"], routing, canary)
        if isinstance(said, Failure):
            return said
        return {**manifest, "metadata": {**metadata, "annotations": said}}

    def _render(self, routing: Routing) -> dict[str, Any] | Failure:
        stable = self.facts.snapshot.ingresses[self.name]
        if self._script:
            scripted = self._scripted(self._script, stable, routing)
            if isinstance(scripted, Failure):
                return scripted
            manifest = scripted
        else:
            manifest = nginx.render(stable.manifest, self._backends, self.ref.ingress_class, routing)
        metadata = manifest["metadata"]
        metadata["annotations"][names.COPIED] = _copied(metadata, self._routing_keys(manifest))
        # As on the stable Service: what was planned for an earlier release must not fit this one.
        metadata["annotations"][names.RELEASE] = self.facts.release
        metadata["annotations"][names.CHANGED_AT] = self._now
        return {**manifest, "metadata": manifests.made_by(metadata, self.facts.owner)}


def _copied(metadata: JsonObject, routing_keys: frozenset[str]) -> str:
    """Say which labels and annotations a canary Ingress has of the stable one: what others add is theirs."""
    keys = {field: sorted((metadata.get(field) or {}).keys() - routing_keys) for field in _FIELDS}
    return json.dumps(keys, separators=(",", ":"))


def _left_over(live: JsonObject, wanted: JsonObject, field: str) -> dict[str, None]:
    """Find what was copied from the stable Ingress once, and is not there any more."""
    try:
        copied = json.loads(live["metadata"]["annotations"][names.COPIED])[field]
        keys = {str(each) for each in copied}
    except MISSHAPEN:
        return {}  # somebody else's hand is in it: what cannot be told apart stays
    has, wants = (each["metadata"].get(field) or {} for each in (live, wanted))
    return {key: None for key in sorted(keys) if key in has and key not in wants}


def _changed(live: JsonObject, wanted: JsonObject, field: str) -> dict[str, Any]:
    has, wants = (each["metadata"].get(field) or {} for each in (live, wanted))
    changed = {key: value for key, value in wants.items() if has.get(key) != value}
    return {**_left_over(live, wanted, field), **changed}


def _difference(live: JsonObject, wanted: JsonObject, routing_keys: frozenset[str]) -> dict[str, Any] | None:
    """Build the merge patch that makes ``live`` carry ``wanted``; None when it does.

    The time stamp goes along only when the routing itself changes: a copied annotation is no reason to wait.
    """
    has: Mapping[str, str] = live["metadata"].get("annotations") or {}
    stamp = wanted["metadata"]["annotations"][names.CHANGED_AT]
    metadata = {field: _changed(live, wanted, field) for field in _FIELDS}
    annotations, spec = metadata["annotations"], nginx.spec_change(live, wanted)
    wants = wanted["metadata"]["annotations"]
    annotations |= {key: None for key in routing_keys if key in has and key not in wants}
    annotations.pop(names.CHANGED_AT, None)
    if not any(metadata.values()) and not spec:
        return None
    if annotations.keys() & routing_keys or spec.keys() - {"tls"}:
        annotations[names.CHANGED_AT] = stamp
    changed = {field: change for field, change in metadata.items() if change}
    return {**({"metadata": changed} if changed else {}), **({"spec": spec} if spec else {})}
