"""Which observed object plays which role in a release.

Roles follow from templates and owners alone, never from what happened before; the one thing
remembered is which revision was stable when the release began.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from rollout import manifests, names
from rollout.actions import Target
from rollout.approval import Stamp
from rollout.revision import release_id
from rollout.selection import selects
from rollout.snapshot import Deployment, Pod, ReplicaSet, RolloutObject, Service, Snapshot
from rollout.spec import RolloutSpec, Style, TrafficRoutingRef
from rollout.status import Phase, Reason
from rollout.wire import JsonObject

# A pod's generated name keeps 58 characters of its ReplicaSet's name and a dash (63 less 5 random ones).
_GENERATED_PREFIX = 58


@dataclass(frozen=True)
class Facts:
    """A snapshot whose Rollout could be parsed and whose workload exists."""

    snapshot: Snapshot
    rollout: RolloutObject
    spec: RolloutSpec
    workload: Deployment

    # --- releases --------------------------------------------------------------------------------

    @cached_property
    def release(self) -> str:
        """The id of the release that waits behind the gate, or would.

        The webhook stamps it together with the template. A stamp that is missing, or that the status
        knows with another template, was left by a write that went past the webhook: a new one is made.
        """
        gate, recorded = self.workload.gate, self.rollout.status.release
        # A version that is being let out is not released again because the gate closed on it once more.
        if self.rollout.status.reason is Reason.FINALISING and self.workload.digest == recorded.digest:
            return recorded.id
        stamped = gate.release if gate else recorded.id
        if stamped and (stamped != recorded.id or self.workload.digest == recorded.digest):
            return stamped
        return release_id(
            self.rollout.target.uid, self.workload.target.uid, self.workload.digest, self.workload.generation
        )

    @property
    def is_recorded(self) -> bool:
        """Tell whether the status is about the release of the present template."""
        recorded = self.rollout.status.release
        return (recorded.id, recorded.digest) == (self.release, self.workload.digest)

    @property
    def gated(self) -> bool:
        """Tell whether the gate is closed: by annotation, whatever ``paused`` says at the moment."""
        return self.workload.gate is not None

    @property
    def returning(self) -> bool:
        """Tell whether the template is that of a revision which still serves: a roll-back, not a release."""
        if self.is_recorded:
            return False
        recorded = self.rollout.status.release.stable_hash
        if self._stands_between:
            return any(each.hash == recorded for each in self.same_template)
        return any(
            each.digest == self.workload.digest and (each.ready > 0 or each.hash == recorded)
            for each in self.serving
        )

    @property
    def _stands_between(self) -> bool:
        """Tell whether the Deployment may have pods of a version that nobody has let out."""
        status = self.rollout.status
        return self.parts and status.phase is Phase.PROGRESSING and status.reason is not Reason.FINALISING

    @property
    def counted(self) -> bool:
        """Tell whether the ReplicaSets we see are those that the Deployment's status counts.

        Each kind is watched on its own, and one view can be older than the other: what is concluded from
        ReplicaSets must not let a change out before they agree.
        """
        workload = self.workload
        present = sum(each.present for each in self._owned_sets(workload))
        # The sum alone can be the same before and after some pods change hands.
        updated = {each.present for each in self.same_template} or {0}
        return (
            workload.observed_generation >= workload.generation
            and present == workload.status_replicas
            and workload.updated in updated
        )

    @property
    def scaled(self) -> bool:
        """Tell whether the Deployment's controller has brought its sets within its limits and counts them so.

        A set counts a pod as available for a while after its controller was told to take it away. Nothing is
        cut under Recreate.
        """
        workload, sets = self.workload, self._owned_sets(self.workload)
        return workload.recreates or (
            self.counted
            and sum(each.replicas for each in sets) <= workload.replicas + workload.max_surge
            and all(each.observed and max(each.present, each.available) <= each.replicas for each in sets)
        )

    @property
    def least(self) -> int:
        """Count the available pods that the Deployment's owner wants at any time."""
        return self.workload.replicas - self.workload.max_unavailable

    @property
    def in_view(self) -> bool:
        """Tell whether the stable revision is known for sure: a view that lags must not name another one."""
        if not self.is_recorded:
            return self.counted
        released = self.rollout.status.release.stable_hash and self.workload.status_replicas
        return not released or self._stands or self.forgotten

    @property
    def _stands(self) -> bool:
        """Tell whether the revision is there that was stable when the release began."""
        recorded = self.rollout.status.release.stable_hash
        return any(each.hash == recorded for each in self.known)

    @property
    def _gone(self) -> bool:
        """Tell whether it is surely gone: deleted by somebody, or empty where no history is kept."""
        recorded = self.is_recorded and bool(self.rollout.status.release.stable_hash)
        return recorded and not self._stands and self.counted

    @cached_property
    def forgotten(self) -> bool:
        """Tell whether the stable revision is gone, and all pods of the Deployment are new."""
        return self.parts and self._gone and self._all_new

    @property
    def overtaken(self) -> bool:
        """Tell whether it is gone, and the Deployment itself runs the version that runs beside it."""
        return not self.parts and self._gone and self._all_new

    @property
    def lost(self) -> bool:
        """Tell whether the stable revision is gone, and others serve: one that the controller woke for it."""
        return self._gone and any(each.digest != self.workload.digest for each in self.serving)

    @property
    def _all_new(self) -> bool:
        return bool(self.serving) and all(each.digest == self.workload.digest for each in self.serving)

    @property
    def approvals(self) -> tuple[Stamp, ...]:
        """What was approved, on the Rollout or on its Deployment."""
        return tuple(each for each in (self.rollout.approval, self.workload.approval) if each)

    # --- revisions -------------------------------------------------------------------------------

    @property
    def known(self) -> tuple[ReplicaSet, ...]:
        """The workload's own ReplicaSets, with pods or without."""
        return tuple(self._owned_sets(self.workload))

    @cached_property
    def serving(self) -> tuple[ReplicaSet, ...]:
        """The workload's own ReplicaSets that are asked to run pods."""
        return tuple(each for each in self._owned_sets(self.workload) if each.replicas > 0)

    @cached_property
    def stable(self) -> ReplicaSet | None:
        """The revision that serves now; None when there is none to protect."""
        if self.forgotten:
            return None
        recorded = self.rollout.status.release.stable_hash
        if self.is_recorded:
            for each in self._owned_sets(self.workload):
                if each.hash == recorded:
                    return each
        others = [each for each in self.serving if each.digest != self.workload.digest]
        # Where only the version itself serves, what it replaced stays what it is measured against.
        before = next((each for each in self.known if each.hash == recorded), None)
        between = self._stands_between and before and before.digest != self.workload.digest
        if between and before and (not others or self._may_serve(before)):
            return before
        return max(others or self.serving, key=_weightiest, default=None)

    def _may_serve(self, revision: ReplicaSet) -> bool:
        """Tell whether a revision serves, or can have pods again where all are of another one.

        Where none may be missing, the controller takes every pod away that comes back beside these.
        """
        workload = self.workload
        returns = workload.max_unavailable > 0 and not workload.max_surge
        return revision.ready > 0 or (not revision.replicas and returns)

    @property
    def out(self) -> bool:
        """Tell whether the present template runs at least as many pods as any other: too late to hold it."""
        rest = [each.replicas for each in self.serving if each.digest != self.workload.digest]
        return self.newest is not None and self.newest.replicas >= max([1, *rest])

    @property
    def whole(self) -> bool:
        """Tell whether the present template's own set is whole: the controller cuts all others then."""
        newest, wanted = self.newest, self.workload.replicas
        return newest is not None and 0 < wanted <= min(newest.replicas, newest.available)

    @property
    def newest(self) -> ReplicaSet | None:
        """The revision of the workload's present template."""
        return max(self.same_template, key=lambda each: (each.replicas, each.hash), default=None)

    @property
    def same_template(self) -> tuple[ReplicaSet, ...]:
        """The workload's own ReplicaSets of its present template, with pods or without."""
        own = self._owned_sets(self.workload)
        return tuple(each for each in own if each.digest == self.workload.digest)

    @property
    def unadopted(self) -> tuple[ReplicaSet, ...]:
        """ReplicaSets that a canary Deployment leaves behind and that are not the workload's yet.

        Whatever the present template is: the canary of the recorded release is the one that was promoted.
        """
        recorded = manifests.canary_name(self.workload.target.name, self.rollout.status.release.id)
        selector = self.workload.manifest["spec"].get("selector") or {}
        return tuple(
            each
            for each in self.snapshot.replica_sets
            if each.left_behind
            and each.maker in {self.canary_name, recorded}
            and self._gives_away(each.maker)
            and selects(selector, each.labels)
        )

    def _gives_away(self, canary: str) -> bool:
        """Tell whether a canary Deployment is gone, or goes without its ReplicaSets."""
        found = self.snapshot.deployments.get(canary)
        return found is None or found.orphaning

    @property
    def unsettled(self) -> tuple[ReplicaSet, ...]:
        """The other revisions that the workload still runs beside the stable one and that of the release."""
        others = (each for each in self.serving if each is not self.stable)
        return tuple(each for each in others if each is not self.inside)

    @cached_property
    def canary(self) -> Deployment | None:
        """The canary Deployment of the present release, if it is ours, and as we made it."""
        found = self.snapshot.deployments.get(self.canary_name)
        ours = found and found.owner_uid == self.rollout.target.uid
        return found if found and ours and not self._edited(found) else None

    def _edited(self, canary: Deployment) -> bool:
        """Tell whether somebody changed its template: what it runs then is not what is being released."""
        begun = self.rollout.status.release.canary_hash if self.is_recorded else ""
        return any(each.hash == begun and each.digest != canary.digest for each in self._owned_sets(canary))

    @property
    def parts(self) -> bool:
        """Tell whether new pods replace old ones inside the Deployment, instead of running beside it.

        Pods whose template is patched can only run beside it.
        """
        kept, patch = self.workload.kept, self.spec.pod_template_patch
        asked = self.spec.style is Style.PARTITION and not (patch.labels or patch.annotations)
        return asked or (kept is not None and kept.held is not None)

    @property
    def stranded(self) -> bool:
        """Tell whether the Deployment has only new pods: scaled down, it may lose the last stable one."""
        return self.inside is not None and (self.stable is None or not self.stable.replicas)

    @cached_property
    def inside(self) -> ReplicaSet | None:
        """The new version's pods that the Deployment has already, in a release that goes on inside it."""
        if not (self.parts and self.is_recorded) or self.newest is None or self.newest is self.stable:
            return None
        return self.newest if self.newest.replicas or self.newest.present else None

    @property
    def crew_name(self) -> str:
        """Name the Deployment that runs the new version's pods."""
        return self.workload.target.name if self.inside else self.canary_name

    @property
    def crew(self) -> int:
        """Count the pods that the new version is asked to have."""
        return self.inside.replicas if self.inside else self.canary.replicas if self.canary else 0

    @property
    def crew_available(self) -> int:
        """Count those of them that are available."""
        return self.inside.available if self.inside else self.canary.available if self.canary else 0

    @property
    def crew_counted(self) -> bool:
        """Tell whether they were counted since their number was last changed."""
        if self.inside:
            return self.inside.observed
        return self.canary is not None and self.canary.observed_generation >= self.canary.generation

    @cached_property
    def canary_name(self) -> str:
        """The name that the canary Deployment of the present release has or gets."""
        return manifests.canary_name(self.workload.target.name, self.release)

    @cached_property
    def canary_set(self) -> ReplicaSet | None:
        """The revision of the new version's pods: the canary Deployment's, or the workload's own."""
        if self.inside or self.canary is None:
            return self.inside
        sets = [each for each in self.canary_sets if each.digest == self.canary.digest]
        return max(sets, key=lambda each: (each.replicas, each.hash), default=None)

    @property
    def canary_sets(self) -> tuple[ReplicaSet, ...]:
        """Every revision of the canary Deployment."""
        return tuple(self._owned_sets(self.canary)) if self.canary else ()

    @property
    def canary_pods(self) -> tuple[Pod, ...]:
        """The pods of that revision, less those on their way out."""
        return self.pods_of(self.canary_set)

    def pods_of(self, revision: ReplicaSet | None) -> tuple[Pod, ...]:
        """Find the pods of a revision, less those on their way out."""
        pods = self.snapshot.pods if revision else ()
        return tuple(each for each in pods if revision and each.owner_uid == revision.target.uid)

    def trouble(self, revision: ReplicaSet | None) -> str | None:
        """Say what keeps a revision from becoming available: a pod's own reason, or its controllers'."""
        pod = self.snapshot.troubles.get(revision.target.uid) if revision else None
        beside = self.canary.stuck if self.canary and revision is self.canary_set else None
        return pod or (revision.stuck if revision else None) or beside

    @property
    def old_canaries(self) -> tuple[Deployment, ...]:
        """Canary Deployments of earlier releases, and one that somebody made into something else."""
        return tuple(each for each in owned_deployments(self.snapshot) if each is not self.canary)

    def _owned_sets(self, owner: Deployment) -> Iterable[ReplicaSet]:
        return [each for each in self.snapshot.replica_sets if each.owner_uid == owner.target.uid]

    # --- traffic ---------------------------------------------------------------------------------

    def ready_behind(self, service: str, revision: ReplicaSet | None) -> int:
        """Count the pods of a revision that the EndpointSlices of a Service show ready."""
        if revision is None:
            return 0
        prefix = f"{revision.target.name}-"[:_GENERATED_PREFIX]
        pods = self.snapshot.ready_pods.get(service, frozenset())
        return sum(pod[:-5] == prefix for pod in pods)

    def strangers_behind(self, service: str) -> frozenset[str]:
        """Name the ready pods of a Service that are neither the workload's nor a canary's."""
        owners = (self.workload, *owned_deployments(self.snapshot))
        sets = [revision for each in owners for revision in self._owned_sets(each)]
        prefixes = {f"{each.target.name}-"[:_GENERATED_PREFIX] for each in sets}
        pods = self.snapshot.ready_pods.get(service, frozenset())
        return frozenset(pod for pod in pods if pod[:-5] not in prefixes)

    @property
    def owner(self) -> JsonObject:
        """The owner reference of everything that this Rollout creates."""
        return manifests.owner_reference(self.rollout.target.name, self.rollout.target.uid)


def _weightiest(revision: ReplicaSet) -> tuple[int, int, str]:
    """Order revisions by how much serves through them: a larger one may be broken."""
    return (revision.ready, revision.replicas, revision.hash)


def owned_deployments(snapshot: Snapshot) -> tuple[Deployment, ...]:
    """Find every canary Deployment of the Rollout."""
    uid = snapshot.rollout.target.uid
    return tuple(each for each in snapshot.deployments.values() if each.owner_uid == uid)


def pinned_services(snapshot: Snapshot, routings: Iterable[TrafficRoutingRef]) -> tuple[Service, ...]:
    """Find every Service that this Rollout holds to one revision, by annotation or by selector alone."""
    name = snapshot.rollout.target.name
    routed = {each.service for each in routings}
    return tuple(
        each
        for each in snapshot.services.values()
        if not each.owned
        and (
            each.pinned_by == name
            or (each.pinned_by is None and each.target.name in routed and each.selected_hash is not None)
        )
    )


def guarded(target: Target, change: JsonObject) -> JsonObject:
    """Bind a merge patch to the object as it was observed."""
    metadata = {**change.get("metadata", {}), "uid": target.uid, "resourceVersion": target.resource_version}
    return {**change, "metadata": metadata}


GATE_ANNOTATIONS = (names.IN_PROGRESSING, names.RELEASE)
