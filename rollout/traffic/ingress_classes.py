"""The classes of Ingress that take a canary by annotations: how each spells them, and what each can say.

One canary Ingress holds one header, one cookie and, for some, one query parameter; each sends its requests
to the canary whatever the others say. So conditions that must hold together cannot be said at all.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from rollout.spec import HeaderModifier, Match, MatchType, Step

COOKIE_HEADER = "canary-by-cookie"
"""A header match of this name means: match the cookie that its value names (contract, 4.3)."""
_NGINX, _MSE = "nginx.ingress.kubernetes.io/", "mse.ingress.kubernetes.io/"
_ALB = "alb.ingress.kubernetes.io/"
_LINE_BREAKS = frozenset("\r\n\0")


@dataclass(frozen=True)
class IngressClass:
    """How one class spells a routing."""

    prefix: str = _NGINX
    """Of the keys that every class has."""
    query_prefixes: tuple[str, ...] = ()
    """Of the keys for a query parameter; none where there are none."""
    sets_headers: str = ""
    """The key under which headers are set on the canary's requests; "" where there is none."""
    always: Mapping[str, str] = field(default_factory=dict)
    """What a canary Ingress needs besides."""
    replaces: Mapping[str, str] = field(default_factory=dict)
    """What it says otherwise, where the stable Ingress says it at all."""


CLASSES: Mapping[str, IngressClass] = {
    "nginx": IngressClass(),
    "higress": IngressClass(),
    "mse": IngressClass(
        # Users of this API know the first spelling; the gateway's own manual knows the second alone.
        query_prefixes=(_NGINX, _MSE),
        sets_headers=_MSE + "request-header-control-update",
        replaces={_MSE + "service-subset": "gray"},
    ),
    # A rule of lower order is looked at first.
    "aliyun-alb": IngressClass(prefix=_ALB, always={_ALB + "order": "1"}),
}
"""The classes that are built in, by ``classType``."""


@dataclass(frozen=True)
class Limit:
    """Something that a step asks of a class and that the class cannot say."""

    field: str
    """Of the step, as messages spell it."""
    what: str
    """What the class cannot do; completes ``classType X cannot``."""
    hint: str


def limits(classtype: str, step: Step) -> Iterator[Limit]:
    """Find what a class cannot say of a step. Whatever it can, the canary Ingress says in full."""
    spelled = CLASSES[classtype]
    yield from _of_matches(step.matches, by_query=bool(spelled.query_prefixes))
    if step.request_header_modifier:
        yield from _of_modifier(step.request_header_modifier, sets=bool(spelled.sets_headers))


def _of_matches(matches: Iterable[Match], *, by_query: bool) -> Iterator[Limit]:
    seen: set[str] = set()
    for match in matches:
        if match.path:
            yield Limit("Matches", "match a path", "leave it out: the Ingress's own paths are matched anyway")
        elif len(match.headers) + len(match.query) > 1:
            yield Limit("Matches", "match several conditions at once", "give each match one condition")
        elif match.query and not by_query:
            yield Limit("Matches", "match a query parameter", "match by a header or a cookie instead")
        elif (kind := _kind(match)) in seen:
            hint = "give one, of type RegularExpression if several values are meant"
            yield Limit("Matches", f"have two matches by {kind} in one step", hint)
        elif kind == "cookie" and match.headers[0].type is not MatchType.EXACT:
            hint = "give the cookie's name as value, with type Exact"
            yield Limit("Matches", "match a cookie by regular expression", hint)
        else:
            seen.add(kind)


def _kind(match: Match) -> str:
    if match.query:
        return "query parameter"
    return "cookie" if match.headers and match.headers[0].name == COOKIE_HEADER else "header"


def _of_modifier(modifier: HeaderModifier, *, sets: bool) -> Iterator[Limit]:
    name = "RequestHeaderModifier"
    if not sets:
        yield Limit(name, "change headers for the canary alone", "leave requestHeaderModifier out")
    elif modifier.add or modifier.remove:
        yield Limit(name, "add or remove headers, only set them", "use requestHeaderModifier.set")
    elif any(_LINE_BREAKS & set(header + value) or " " in header for header, value in modifier.set):
        yield Limit(name, "set a header whose name has a space or whose value has a line break", "correct it")
