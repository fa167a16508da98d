"""What is not supported yet is found by name, in one place for admission, gate and reconciler."""

from dataclasses import replace
from typing import Any

import pytest

from rollout.parsing import parse
from rollout.route_kinds import RouteRef
from rollout.spec import (
    Amount,
    HeaderMatch,
    HeaderModifier,
    Match,
    PathMatch,
    RolloutSpec,
    Step,
    Style,
    TrafficRoutingRef,
    WorkloadRef,
)
from rollout.support import Feature, missing, unsupported
from tests.unit.rollout.rollout_objects import beta

BETA, EUROPE = HeaderMatch("x-beta", "1"), HeaderMatch("x-region", "eu")
TWO_HEADERS = Step(Amount(1), matches=(Match(headers=(BETA, EUROPE)),))
BY_PATH = Step(Amount(1), matches=(Match(path=PathMatch("/beta"), headers=(BETA,)),))
MODIFIED = Step(Amount(1), weight=20, request_header_modifier=HeaderModifier(remove=("x-beta",)))
INGRESS = TrafficRoutingRef("a", ingress_name="web")
LANE = RouteRef("a.example.com/v1", "Lane", "c")


def spec() -> RolloutSpec:
    """Read a Rollout of which everything is supported."""
    ingress = {"service": "web", "ingress": {"name": "web"}}
    steps = [{"replicas": 1, "traffic": "20%"}]
    found = parse(beta({"steps": steps, "trafficRoutings": [ingress]}))
    assert isinstance(found, RolloutSpec)
    return found


def test_canary_by_ingress_is_supported() -> None:
    """The whole of what the product releases by: weights, and matches by one header each."""
    assert unsupported(spec()) is None
    assert unsupported(replace(spec(), style=Style.PARTITION)) is None
    assert unsupported(replace(spec(), steps=(Step(Amount(1), matches=(Match(headers=(BETA,)),)),))) is None


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"style": Style.BLUE_GREEN}, "style blueGreen is not supported yet: use spec.strategy.canary"),
        (
            {"traffic_routing_ref": "shared"},
            "trafficRoutingRef beside trafficRoutings is not supported yet: write all of the routing",
        ),
        (
            {"disable_generate_canary_service": True},
            "disableGenerateCanaryService with ingress or gateway is not supported yet: leave it out",
        ),
        (
            {"strict": True},
            "annotation sluice.dev/verify beside a route other than gateway is a promise that nobody can",
        ),
        (
            {"strict": True, "routings": (TrafficRoutingRef("a", http_route="a", custom=(LANE,)),)},
            "annotation sluice.dev/verify beside a route other than gateway is a promise that nobody can",
        ),
        (
            {"routings": (INGRESS, replace(INGRESS, service="b", ingress_class="mse"))},
            "one Ingress with several classTypes is not supported yet: one canary Ingress stands for all",
        ),
        ({"steps": (TWO_HEADERS,)}, "classType nginx cannot match several conditions at once: give each"),
        ({"steps": (BY_PATH,)}, "classType nginx cannot match a path: leave it out"),
        ({"steps": (MODIFIED,)}, "classType nginx cannot change headers for the canary alone: leave"),
        (
            {"workload": WorkloadRef("apps/v1", "StatefulSet", "web")},
            "workloadRef of kind StatefulSet in apps/v1 is not supported: only Deployments",
        ),
    ],
)
def test_feature_that_does_not_exist_is_named_with_what_to_do(asked: dict[str, Any], named: str) -> None:
    """By the name of its field, so that it is found in the manifest."""
    assert str(unsupported(replace(spec(), **asked))).startswith(named)


def test_one_ingress_may_route_to_several_services() -> None:
    """The paths of one Ingress lead to different Services: one canary Ingress has them all."""
    shared = replace(spec(), routings=(INGRESS, replace(INGRESS, service="b")))

    assert unsupported(shared) is None


def test_routings_without_an_ingress_are_not_bound_to_what_an_ingress_can_say() -> None:
    """Only a class of Ingress has these limits."""
    by_gateway = replace(spec(), routings=(TrafficRoutingRef("a", http_route="web"),), steps=(BY_PATH,))

    assert unsupported(by_gateway) is None


def test_route_that_a_gateway_speaks_for_can_be_verified() -> None:
    """So can a release without any route: nothing of it has to be in force."""
    by_gateway = replace(spec(), routings=(TrafficRoutingRef("a", http_route="web"),), strict=True)

    assert unsupported(by_gateway) is None
    assert unsupported(replace(by_gateway, routings=())) is None


def test_everything_that_is_missing_is_told() -> None:
    """Not only the first: the user should have to come back once."""
    asked = replace(spec(), style=Style.BLUE_GREEN, traffic_routing_ref="shared")
    assert [each.feature for each in missing(asked)] == [Feature.BLUE_GREEN, Feature.ROUTED_TWICE]


def test_place_of_the_routing_is_told() -> None:
    """One of several routings may be the one to change."""
    second = replace(spec().routings[0], ingress_class="higress")
    (found,) = missing(replace(spec(), routings=(*spec().routings, second)))
    assert found.routing == 1


def test_class_that_a_script_may_know_is_let_through() -> None:
    """Whether there is a script, the release itself says: admission does not see the ConfigMap."""
    routing = replace(INGRESS, ingress_class="other")

    assert unsupported(replace(spec(), routings=(routing,), steps=(TWO_HEADERS,))) is None
