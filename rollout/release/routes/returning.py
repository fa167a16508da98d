"""Users' own routes given back: found by our mark on them, whatever the Rollout says by now."""

from rollout import messages, names
from rollout.actions import Patch
from rollout.release.facts import guarded, owned_deployments
from rollout.release.outcome import DONE, Doing, Outcome, together
from rollout.route_kinds import HTTP_ROUTE, RouteKind
from rollout.snapshot import RouteObject, Snapshot
from rollout.traffic import asked, custom
from rollout.traffic.gateway import route as http_route
from rollout.wire import JsonObject


def given_back(manifest: JsonObject) -> JsonObject | None:
    """Build the patch that makes a route its owner's again; None when what it was is not known.

    It asks the webhook to make the change, so that for server-side apply nothing of the route is ours.
    """
    kind = RouteKind(manifest["apiVersion"], manifest["kind"])
    scripted = names.ORIGINAL_SPEC in (manifest["metadata"].get("annotations") or {})
    change = (
        http_route.given_back(manifest)
        if kind == HTTP_ROUTE and not scripted
        else custom.given_back(manifest)
    )
    return asked.asking(manifest, change) if change else None


def changed(snapshot: Snapshot) -> tuple[RouteObject, ...]:
    """Find every object that bears the Rollout's mark; those named last in the Rollout come first."""
    name = snapshot.rollout.target.name
    return tuple(each for each in reversed([*snapshot.route_objects.values()]) if each.routed_by == name)


def give_back(snapshot: Snapshot) -> Outcome:
    """Make every changed object what it was, without our marks."""
    return unseen(snapshot) or together(_give_back(each) for each in changed(snapshot))


def _give_back(route: RouteObject) -> Outcome:
    target = route.target
    patch = given_back(route.manifest)
    if patch is None:
        return Doing(messages.original_lost(target.kind, target.name), blocked=True)
    write = Patch(target, guarded(target, patch), why="no release is routed by it any more")
    return Doing(f"gives {target.kind} {target.name} back", (write,))


def unseen(snapshot: Snapshot) -> Outcome:
    """Wait for objects that cannot be seen, if any can have been changed: pods come before that.

    A kind that does not exist any more has no objects to be given back.
    """
    whys = [each.why for each in snapshot.unseen.values() if not each.absent]
    begun = owned_deployments(snapshot) or any(each.owned for each in snapshot.services.values())
    return Doing(min(whys), blocked=True) if whys and begun else DONE
