"""Rounds on an API server in memory: from nothing, after damage, in replicas that overtake each other."""

import asyncio
import base64
import itertools
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs.bundle import KeyPair, fingerprints, read, write
from certs.injection import Endpoint, inject, parse_url
from certs.issue import SERVING_LIFE
from certs.rotation import IssueAuthority, carry_out
from certs.upkeep import Upkeep
from kube.errors import Unavailable
from kube.resources import Ref
from runtime.clock import ManualClock
from runtime.logs import Log
from tests.unit.certs.memory import (
    DEFINITION,
    ENDPOINT,
    MUTATING,
    SECRET,
    VALIDATING,
    MemoryCluster,
    definition,
    installation,
    refusing,
    verifies,
)

DAY = 86400.0


class World:
    """A cluster, a clock, and replicas of the webhook."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster()
        self.cluster.install()
        self.clock = ManualClock()

    def replica(self, endpoint: Endpoint = ENDPOINT) -> Upkeep:
        """Start a replica; it has not looked yet."""
        return Upkeep(self.cluster, installation(endpoint), self.clock, Log("certs"))

    def is_served(self, replica: Upkeep) -> bool:
        """Tell whether every consumer can call this replica."""
        loaded, now = replica.loaded, self.clock.now()
        return loaded is not None and all(
            verifies(loaded.certificate, trust, now) for trust in self.cluster.trusts()
        )

    async def live(self, replicas: Sequence[Upkeep], seconds: float) -> None:
        """Let time pass as the replicas live it: rounds when due (or days late), and after every change."""
        end = self.clock.monotonic() + seconds
        while True:
            wait = await self.settle(replicas)
            if wait >= DAY:
                wait = 4 * DAY  # the machine slept; also four times as fast a test
            if self.clock.monotonic() + wait >= end:
                break
            await self.clock.advance(wait)
        await self.clock.advance(end - self.clock.monotonic())

    async def settle(self, replicas: Sequence[Upkeep]) -> float:
        """Do rounds, all replicas at once, until none changes anything; return when the next is due."""
        quiet = 0
        for _ in range(30):
            writes = self.cluster.writes
            waits = await asyncio.gather(*(replica.once() for replica in replicas))
            quiet = quiet + 1 if self.cluster.writes == writes else 0
            if quiet == 2:  # after one quiet round, whoever was outrun may have something to write
                return max(0.01, min(waits, default=DAY))
        raise AssertionError("the replicas do not come to rest")


@pytest.fixture
def world() -> World:
    """Return an installation that was just applied."""
    return World()


def loaded(replica: Upkeep) -> KeyPair:
    """Return what a replica serves under."""
    assert replica.loaded is not None
    return replica.loaded


async def test_one_round_makes_a_new_installation_ready(world: World) -> None:
    """From nothing to served in one round; the second finds nothing to do."""
    replica = world.replica()
    assert replica.ready() is not None

    await replica.once()

    assert replica.ready() is None
    assert world.is_served(replica)
    assert world.cluster.objects[SECRET]["type"] == "kubernetes.io/tls"
    writes = world.cluster.writes
    await replica.once()
    assert world.cluster.writes == writes


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_replicas_that_race_end_up_with_one_bundle(turns: list[int], count: int) -> None:
    """However their requests interleave, all replicas serve under the same certificate, trusted by all."""

    async def race() -> None:
        world = World()
        world.cluster.turns = iter(turns)
        replicas = [world.replica() for _ in range(count)]
        await world.settle(replicas)

        assert len({loaded(replica).certificate for replica in replicas}) == 1
        assert all(replica.ready() is None and world.is_served(replica) for replica in replicas)
        assert {trust.count(b"BEGIN") for trust in world.cluster.trusts()} == {1}

    asyncio.run(race())


@pytest.mark.parametrize("ref", [MUTATING, VALIDATING, DEFINITION], ids=str)
async def test_missing_consumer_keeps_the_replica_from_being_ready(world: World, ref: Ref) -> None:
    """An installation that is not complete says what is missing, and heals when it comes."""
    missing = world.cluster.objects.pop(ref)
    replica = world.replica()
    await replica.once()
    assert replica.ready() == f"{ref} does not exist: is the chart installed completely?"

    world.cluster.put(ref, missing)
    await replica.once()

    assert replica.ready() is None
    assert world.is_served(replica)


async def test_reset_bundle_is_injected_again_without_losing_readiness(world: World) -> None:
    """Who re-applies the chart's manifests does not take the webhook down."""
    replica = world.replica()
    await replica.once()

    world.cluster.install()
    assert replica.ready() is None
    assert not world.is_served(replica)
    await replica.once()

    assert world.is_served(replica)


async def test_definition_is_left_alone_while_the_installation_is_being_removed(world: World) -> None:
    """Without configurations nobody puts back the conversion that was taken out."""
    replica = world.replica()
    await replica.once()

    del world.cluster.objects[MUTATING], world.cluster.objects[VALIDATING]
    world.cluster.put(DEFINITION, definition())
    await replica.once()

    assert world.cluster.objects[DEFINITION]["spec"]["conversion"] == {"strategy": "None"}
    assert replica.ready() is None


@pytest.mark.parametrize(
    "request_numbers", list(itertools.combinations_with_replacement(range(1, 9), 3)), ids=str
)
async def test_leaving_wins_over_every_round_that_is_under_way(
    world: World, request_numbers: tuple[int, int, int]
) -> None:
    """However a round falls into the removal of the installation, the conversion stays taken out."""
    replica = world.replica()
    await replica.once()
    world.cluster.install()  # so that there is something to inject
    numbers = itertools.count(1)
    removals: list[Callable[[], object]] = [
        lambda: world.cluster.objects.pop(MUTATING),
        lambda: world.cluster.objects.pop(VALIDATING),
        lambda: world.cluster.put(DEFINITION, definition()),
    ]

    def leave(_verb: str, _ref: Ref) -> None:
        number = next(numbers)
        for due, remove in zip(request_numbers, removals, strict=True):
            if due == number:
                remove()

    world.cluster.before = leave
    await replica.once()
    await replica.once()
    await replica.once()

    assert world.cluster.objects[DEFINITION]["spec"]["conversion"] == {"strategy": "None"}


async def test_consumer_that_is_being_deleted_is_not_written(world: World) -> None:
    """What is on its way out is as good as gone."""
    world.cluster.objects[VALIDATING]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    replica = world.replica()

    await replica.once()

    assert replica.ready() == f"{VALIDATING} is being deleted"
    assert "caBundle" not in world.cluster.objects[VALIDATING]["webhooks"][0]["clientConfig"]


def damaged(data: dict[str, Any], name: str) -> dict[str, Any]:
    """Return Secret data with one key gone or all of it garbage."""
    if name == "everything":
        return dict.fromkeys(data, base64.b64encode(b"garbage").decode())
    return {key: value for key, value in data.items() if key != name}


@pytest.mark.parametrize("name", ["ca-cert.pem", "ca-key.pem", "tls.crt", "tls.key", "everything"])
async def test_damaged_secret_is_healed_and_calls_go_on_meanwhile(
    world: World, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever part is lost, a running replica is served at every moment until the Secret is whole again."""
    replica = world.replica()
    await replica.once()
    world.cluster.objects[SECRET]["data"] = damaged(world.cluster.objects[SECRET]["data"], name)
    world.cluster.put(SECRET, world.cluster.objects[SECRET])
    world.cluster.before = lambda _verb, _ref: _assert(world.is_served(replica))

    with caplog.at_level(logging.WARNING):
        await world.live([replica], 10 * DAY)

    assert read(world.cluster.objects[SECRET]["data"]).problems == ()
    assert {trust.count(b"BEGIN") for trust in world.cluster.trusts()} == {1}
    assert "The Secret is damaged" in [record.getMessage() for record in caplog.records]
    fresh = world.replica()
    await fresh.once()
    assert world.is_served(fresh)


async def test_deleted_secret_means_new_keys_without_an_interruption(world: World) -> None:
    """Deleting the Secret is how to get new keys; running replicas are served while they come."""
    replicas = [world.replica(), world.replica()]
    await world.settle(replicas)
    before = read(world.cluster.objects.pop(SECRET)["data"])
    world.cluster.before = lambda _verb, _ref: _assert(all(map(world.is_served, replicas)))

    await world.live(replicas, 10 * DAY)

    after = read(world.cluster.objects[SECRET]["data"])
    assert before.signer is not None
    assert before.signer.certificate not in after.authorities
    assert all(loaded(replica) == after.serving for replica in replicas)


async def test_foreign_keys_of_a_secret_are_kept(world: World) -> None:
    """What others keep in the Secret stays; only our keys are written."""
    world.cluster.put(SECRET, {"type": "Opaque", "data": {"theirs": "eA=="}})

    await world.replica().once()

    assert world.cluster.objects[SECRET]["data"]["theirs"] == "eA=="
    assert world.cluster.objects[SECRET]["type"] == "Opaque"


def rotate(cluster: MemoryCluster) -> bytes:
    """Do what another replica does: add an authority, inject it; return the new bundle."""
    secret = cluster.objects[SECRET]
    bundle = carry_out(IssueAuthority("test"), read(secret["data"]), ManualClock().now(), ENDPOINT.names())
    cluster.put(SECRET, {**secret, "data": write(bundle)})
    operations = inject(cluster.objects[MUTATING], bundle.trust(), ENDPOINT)
    cluster.put(MUTATING, jsonpatch.apply_patch(cluster.objects[MUTATING], list(operations or ())))
    return bundle.trust()


@pytest.mark.parametrize("request_number", [1, 2, 3, 4, 5])
async def test_stale_replica_does_not_undo_an_injection(world: World, request_number: int) -> None:
    """A replica that is stopped anywhere in a round never brings back the bundle it had in mind."""
    replica = world.replica()
    await replica.once()
    world.cluster.install()  # so that there is something to inject
    numbers = itertools.count(1)
    injected: list[bytes] = []

    def overtake(_verb: str, _ref: Ref) -> None:
        if next(numbers) == request_number:
            injected.append(rotate(world.cluster))
        if injected:
            assert injected[0] == world.cluster.trusts()[0]

    world.cluster.before = overtake
    await world.settle([replica])

    assert set(world.cluster.trusts()) == set(injected)


async def test_step_of_another_replica_is_not_written_over(world: World) -> None:
    """Two replicas mend the Secret at the same time: what the first one added is still there."""
    replica = world.replica()
    await replica.once()
    secret = world.cluster.objects[SECRET]
    world.cluster.put(SECRET, {**secret, "data": damaged(secret["data"], "tls.key")})
    injected: list[bytes] = []

    def overtake(verb: str, ref: Ref) -> None:
        if (verb, ref) == ("patch", SECRET) and not injected:
            injected.append(rotate(world.cluster))

    world.cluster.before = overtake
    await world.settle([replica])

    assert fingerprints(injected[0]) <= fingerprints(replica.bundle.trust())
    assert world.is_served(replica)


@pytest.mark.parametrize("verb", ["get", "patch"])
@pytest.mark.parametrize("ref", [MUTATING, VALIDATING, DEFINITION], ids=str)
async def test_replica_keeps_what_is_trusted_while_one_consumer_cannot_be_changed(
    world: World, verb: str, ref: Ref
) -> None:
    """With new keys in the Secret and one consumer still on the old bundle, the old certificate serves on."""
    replica = world.replica()
    await replica.once()
    serving = loaded(replica)
    del world.cluster.objects[SECRET]
    world.cluster.before = refusing(verb, ref)

    await replica.once()
    assert loaded(replica) == serving
    assert world.is_served(replica)
    world.cluster.before = lambda _verb, _ref: None
    await replica.once()

    assert loaded(replica) != serving
    assert world.is_served(replica)


async def test_new_authority_signs_only_after_consumers_had_it_for_a_while(world: World) -> None:
    """Several API servers learn of an injection at their own pace."""
    replica = world.replica()
    await replica.once()
    data = {**world.cluster.objects[SECRET]["data"], "ca-key.pem": ""}
    world.cluster.put(SECRET, {"data": data})
    serving = loaded(replica)

    await replica.once()
    assert {trust.count(b"BEGIN") for trust in world.cluster.trusts()} == {2}
    await world.clock.advance(59)
    await replica.once()
    assert loaded(replica) == serving
    await world.clock.advance(1)
    await replica.once()

    assert loaded(replica) != serving
    assert world.is_served(replica)


async def test_consumer_that_cannot_be_patched_is_retried_with_growing_waits(world: World) -> None:
    """A missing right is said once, in the readiness and in the log, and retried within half a minute."""
    world.cluster.before = refusing("patch", VALIDATING)
    replica = world.replica()

    waits = [await replica.once() for _ in range(8)]

    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    assert "cannot patch ValidatingWebhookConfiguration sluice-validating" in (replica.ready() or "")
    world.cluster.before = lambda _verb, _ref: None
    await replica.once()
    assert replica.ready() is None


@pytest.mark.parametrize(
    ("verb", "ref"), list(itertools.product(["get", "patch"], [SECRET, MUTATING, DEFINITION])), ids=str
)
async def test_failing_requests_change_nothing_of_what_is_served(world: World, verb: str, ref: Ref) -> None:
    """While the API server has trouble, a replica goes on with what it has."""
    replica = world.replica()
    await replica.once()
    serving = loaded(replica)
    world.cluster.before = refusing(verb, ref, Unavailable("not now", code=503))

    await world.live([replica], 3 * 3600)

    assert replica.ready() is None
    assert loaded(replica) == serving
    assert world.is_served(replica)


async def test_replicas_that_undo_each_other_slow_down_and_say_so(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A replica whose clock is years ahead does not make the others write without end."""
    ahead = World()
    ahead.cluster = world.cluster
    await ahead.clock.advance(3 * 365 * DAY)
    right, wrong = world.replica(), ahead.replica()

    for _ in range(50):
        await right.once()
        await wrong.once()

    assert world.cluster.writes < 60
    said = [str(vars(record)["sluice_fields"]) for record in caplog.records if record.levelname == "WARNING"]
    assert any("do their clocks agree?" in each for each in said)


async def test_expired_certificate_is_not_ready(world: World) -> None:
    """A replica that could not renew in time says so instead of failing every handshake in silence."""
    replica = world.replica()
    await replica.once()
    world.cluster.before = refusing("get", SECRET)

    await world.clock.advance(SERVING_LIFE.total_seconds())
    await replica.once()

    assert (replica.ready() or "").startswith("the serving certificate has expired: cannot get Secret")


async def test_registration_by_url_is_served_under_that_host(world: World) -> None:
    """Outside the cluster, the certificate is for the host that was registered."""
    replica = world.replica(parse_url("https://webhook.example.com:9443"))

    await replica.once()

    serving, now = loaded(replica).certificate, world.clock.now()
    assert all(verifies(serving, trust, now, "webhook.example.com") for trust in world.cluster.trusts())
    hook = world.cluster.objects[MUTATING]["webhooks"][0]["clientConfig"]
    assert hook["url"] == "https://webhook.example.com:9443/mutate-deployment"


lives = st.lists(
    st.tuples(
        st.floats(0.01, 80).map(lambda days: days * DAY),  # how long
        st.sets(st.integers(0, 2)),  # which replicas run
        st.lists(st.integers(0, 4), max_size=30),  # how they overtake each other at first
    ),
    min_size=20,
    max_size=30,
)


@given(lives)
@settings(max_examples=4, deadline=None)
def test_ready_replicas_are_verified_by_every_consumer_through_years_of_life(
    life: list[tuple[float, set[int], list[int]]],
) -> None:
    """At every request of three years, with replicas down for weeks, every ready replica is served."""

    async def walk() -> None:
        world = World()
        running: dict[int, Upkeep] = {}
        world.cluster.before = lambda _verb, _ref: _assert(
            all(world.is_served(replica) for replica in running.values() if replica.ready() is None)
        )
        for seconds, wanted, turns in life:
            running = {number: running.get(number) or world.replica() for number in sorted(wanted)}
            world.cluster.turns = iter(turns)
            await world.live(list(running.values()), seconds)
            for replica in running.values():
                assert replica.ready() is None
                assert world.is_served(replica)
                assert len(fingerprints(world.cluster.trusts()[0])) <= 2

    asyncio.run(walk())


async def test_authorities_come_and_go_through_years_of_life(world: World) -> None:
    """In three years of an undisturbed life the authority was replaced, and the old ones are gone."""
    replica = world.replica()
    await replica.once()
    first = world.cluster.trusts()[0]

    await world.live([replica], timedelta(days=3 * 365).total_seconds())

    last = world.cluster.trusts()[0]
    assert not fingerprints(first) & fingerprints(last)
    # four authorities and some twenty serving certificates, each with its injections, and no more
    assert world.cluster.writes < 120


def _assert(claim: bool) -> None:  # noqa: FBT001 - the claim is the argument
    assert claim
