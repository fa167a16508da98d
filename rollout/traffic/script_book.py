"""Which script says a routing: a key of the users' ConfigMap, or what is built in for a known kind."""

from collections.abc import Mapping

from rollout import messages, names
from rollout.route_kinds import RouteKind
from rollout.traffic import scripts
from rollout.traffic.lua import Failure, Script


def for_kind(kind: RouteKind, configured: Mapping[str, str]) -> Script | Failure:
    """Find the script for objects of a kind; what users configured comes before what is built in."""
    name = f"{kind.kind}.{kind.api_version.rpartition('/')[0]}"
    key = names.ROUTE_SCRIPT + name
    if key in configured:
        return Script(key, configured[key])
    if name in scripts.ROUTES:
        return Script(f"built-in script {name}", scripts.ROUTES[name])
    return Failure(messages.script_missing(key))


def for_ingress_class(name: str, configured: Mapping[str, str]) -> Script | None:
    """Find the users' script for canary Ingresses of a class."""
    key = names.INGRESS_SCRIPT + name
    return Script(key, configured[key]) if key in configured else None
