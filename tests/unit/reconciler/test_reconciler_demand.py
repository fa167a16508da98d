"""Which of the kinds that Rollouts name are followed."""

from reconciler.demand import within_limits
from rollout.route_kinds import HTTP_ROUTE, RouteKind

MANY = [RouteKind(f"a{number:02}.example.com/v1", "Road") for number in range(40)]
LANE = RouteKind("traffic.example.com/v1", "Lane")


def test_namespace_that_names_many_kinds_takes_nothing_from_others() -> None:
    """Each has so many of its own, whatever the others ask for."""
    chosen = within_limits({**{each: {"greedy"} for each in MANY}, LANE: {"modest"}, HTTP_ROUTE: {"modest"}})

    assert chosen == {*MANY[:16], LANE, HTTP_ROUTE}


def test_http_routes_come_first() -> None:
    """Of a namespace that names too many kinds itself as well."""
    chosen = within_limits({each: {"greedy"} for each in (*MANY, HTTP_ROUTE)})

    assert chosen == {*MANY[:15], HTTP_ROUTE}


def test_kind_that_another_namespace_may_ask_for_is_followed() -> None:
    """Its objects are told about to both."""
    chosen = within_limits({**{each: {"greedy"} for each in MANY}, MANY[39]: {"greedy", "modest"}})

    assert chosen == {*MANY[:16], MANY[39]}
