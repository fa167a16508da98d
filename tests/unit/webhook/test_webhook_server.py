"""The webhook over real TLS: reviews are answered, everything else is a 4xx, and nothing ends the process."""

import asyncio
import gzip
import io
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from certs.bundle import pem
from certs.issue import new_authority, new_serving
from certs.tls import present, server_context
from kube.errors import KubeError, Unavailable
from rollout import names
from rollout.gate import Governor
from rollout.validation import Rules
from runtime.clock import ManualClock
from runtime.logs import Log
from tests.unit.webhook import reviews
from tests.unit.webhook.reviews import LABEL, NOW, POLICY, deployment, governor
from webhook.conversion import MAX_BODY_BYTES as MAX_CONVERSION_BYTES
from webhook.conversion import MOST_AT_ONCE
from webhook.endpoints import LIVE_READ_SECONDS, MAX_BODY_BYTES, Endpoint, Endpoints
from webhook.server import Listener, Reviewer, Traffic

Json = dict[str, Any]
MUTATE = "/mutate/deployments"
GATED = reviews.review(deployment("echo:1"), deployment("echo:2"))
LABELLED = reviews.review(deployment("echo:1", None, LABEL), deployment("echo:2", None, LABEL))


@dataclass
class Namespace:
    """A directory that a test fills; an exception in ``live`` is raised by the live read."""

    cached: Sequence[Governor] = (governor(),)
    live: Sequence[Governor] | KubeError | asyncio.Event = ()
    reads: int = 0
    pinned: bool = True
    rollouts_found: Sequence[Json] = field(default_factory=list)

    def governors(self, _namespace: str, _deployment: str) -> Sequence[Governor]:
        """Return what the test put in."""
        return self.cached

    async def read_governors(self, _namespace: str, _deployment: str) -> Sequence[Governor]:
        """Return or raise what the test put in, or wait for ever."""
        self.reads += 1
        if isinstance(self.live, KubeError):
            raise self.live
        if isinstance(self.live, asyncio.Event):
            await self.live.wait()
            return ()
        return self.live

    def has_rollout(self, _namespace: str, name: str | None) -> bool:
        """Know every Rollout."""
        return bool(name)

    def needs_pin(self, _namespace: str, _service: str, _pinned_by: str | None) -> bool:
        """Return what the test put in."""
        return self.pinned

    def rollouts(self, _namespace: str) -> Sequence[Json]:
        """Return what the test put in."""
        return self.rollouts_found

    def traffic_routings(self, _namespace: str) -> Mapping[str, Json]:
        """Return none."""
        return {}


class Broken(Namespace):
    """A directory with a bug."""

    def governors(self, _namespace: str, _deployment: str) -> Sequence[Governor]:
        """Raise what no handler expects."""
        raise ZeroDivisionError


@dataclass
class Caller:
    """Speaks to the webhook as an API server does."""

    session: aiohttp.ClientSession
    registry: CollectorRegistry

    async def post(
        self, path: str, body: Any, content_type: str = "application/json", **headers: str
    ) -> tuple[int, bytes]:
        """Send one request."""
        sent = {"Content-Type": content_type, **headers}
        data = io.BytesIO(body) if isinstance(body, bytes) else body
        async with self.session.post(path, data=data, headers=sent) as answer:
            return answer.status, await answer.read()

    async def gates(self) -> bool:
        """Tell whether a gate is closed as ever."""
        status, answer = await self.post(MUTATE, GATED)
        return status == 200 and names.RELEASE in json.dumps(reviews.operations(answer))

    def count(self, path: str, outcome: str) -> float:
        """Read the counter."""
        labels = {"path": path, "outcome": outcome}
        return self.registry.get_sample_value("sluice_webhook_reviews_total", labels) or 0.0


@asynccontextmanager
async def webhook(
    directory: Namespace,
    live_read_seconds: float = LIVE_READ_SECONDS,
    *,
    draining: bool = False,
    more: Mapping[str, Endpoint] | None = None,
) -> AsyncIterator[Caller]:
    """Serve on loopback, with certificates of our own making."""
    context, authority = server_context(), new_authority(datetime.now(UTC))
    present(context, new_serving(authority, frozenset({"127.0.0.1"}), datetime.now(UTC)))
    registry, clock, log = CollectorRegistry(), ManualClock(NOW), Log("webhook")
    endpoints = Endpoints(directory, POLICY, Rules(), clock, log, live_read_seconds)
    reviewer = Reviewer(
        {**endpoints.by_path(), **(more or {})}, Traffic(registry), clock, log, draining=lambda: draining
    )
    server = Listener(reviewer, "127.0.0.1", 0, context)
    await server.start()
    trust = ssl.create_default_context(cadata=pem(authority.certificate).decode())
    base = f"https://127.0.0.1:{server.port}"
    try:
        async with aiohttp.ClientSession(base, connector=aiohttp.TCPConnector(ssl=trust)) as session:
            yield Caller(session, registry)
    finally:
        await server.stop()


@pytest.mark.parametrize("draining", [False, True])
async def test_callers_are_sent_elsewhere_by_a_process_that_is_told_to_stop(*, draining: bool) -> None:
    """An answer that ends its connection costs nothing; an end without an answer is a lost review."""
    async with webhook(Namespace(), draining=draining) as caller:
        answer = await caller.session.post("/convert", data=b"{}")

        assert (answer.headers.get("Connection") == "close") is draining


async def test_review_is_answered_over_tls() -> None:
    """From bytes to bytes, and counted."""
    async with webhook(Namespace()) as caller:
        status, answer = await caller.post(MUTATE, GATED)

        assert status == 200
        assert json.loads(answer)["response"]["allowed"] is True
        assert names.RELEASE in json.dumps(reviews.operations(answer))
        assert caller.count(MUTATE, "closed") == 1


def changed(**changes: Any) -> bytes:
    """Build a review with other members in its request or envelope."""
    body = json.loads(GATED)
    for key, value in changes.items():
        (body if key in body else body["request"])[key] = value
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'"\xed\xa0\x80"',
        changed(apiVersion="admission.k8s.io/v1beta1"),
        changed(kind="ConversionReview"),
        changed(request=None),
        changed(object=[]),
        changed(object={"metadata": {"annotations": {"a": 1}}}),
        changed(object={"spec": {"replicas": "many"}}),
        changed(userInfo="jane"),
        changed(resource={"group": "", "version": "v1", "resource": "pods"}),
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":1}}',
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        GATED.replace(
            b'"strategy":{"type":"RollingUpdate"}', b'"strategy":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000
        ),
        GATED.replace(b'"image":"echo:2"', b'"image":' + b"[" * 10_000 + b"]" * 10_000),
        GATED.replace(b'"image":"echo:2"', b'"image":' + b"[" * 950 + b"]" * 950),
        b'{"request":' + b"9" * 1_000_000 + b"}",
    ],
    ids=lambda body: str(body[:40]),
)
async def test_malformed_body_is_refused_and_harms_nobody(body: bytes) -> None:
    """HTTP 400; the next review is answered as ever."""
    async with webhook(Namespace()) as caller:
        status, _ = await caller.post(MUTATE, body)

        assert status == 400
        assert await caller.gates()
        assert caller.count(MUTATE, "refused") == 1


@pytest.mark.parametrize(
    "path",
    [
        "/mutate/rollouts",
        "/mutate/services",
        "/mutate/httproutes",
        "/validate/rollouts",
        "/validate/trafficroutings",
        "/convert",
    ],
)
async def test_every_path_refuses_what_is_not_its_own(path: str) -> None:
    """Reviews of other kinds, deep nesting."""
    async with webhook(Namespace()) as caller:
        assert (await caller.post(path, GATED))[0] == 400
        assert (await caller.post(path, b'{"request":' * 10_000))[0] == 400
        assert await caller.gates()


async def test_huge_body_is_refused() -> None:
    """HTTP 413 above what an API server can send, with and without a length."""
    huge = b" " * (MAX_BODY_BYTES + 1)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(huge), 65536):
            yield huge[start : start + 65536]

    async with webhook(Namespace()) as caller:
        assert (await caller.post(MUTATE, huge))[0] == 413
        assert (await caller.post(MUTATE, chunks()))[0] == 413
        assert await caller.gates()


async def test_largest_review_an_api_server_can_send_is_answered() -> None:
    """Two objects of 3 MiB."""
    filler = {"filler": "x" * (3 * 1024 * 1024)}
    body = reviews.review(deployment("echo:1", filler), deployment("echo:2", filler))

    async with webhook(Namespace()) as caller:
        assert (await caller.post(MUTATE, body))[0] == 200


async def test_few_large_bodies_are_read_at_a_time() -> None:
    """Whoever can reach the port can send them; admission, whose bodies are small, waits for none of them."""
    working, most, seen, go = 0, 0, asyncio.Condition(), asyncio.Event()

    async def slow(_: bytes) -> tuple[bytes, str]:
        nonlocal working, most
        async with seen:
            working += 1
            most = max(most, working)
            seen.notify_all()
        await go.wait()
        working -= 1
        return b"{}", "done"

    async with webhook(Namespace(), more={"/slow": slow}) as caller, asyncio.TaskGroup() as group:
        sent = [group.create_task(caller.post("/slow", b" " * 2 * 1024 * 1024)) for _ in range(8)]
        async with seen:
            await seen.wait_for(lambda: working == 4)
        assert all([await caller.gates() for _ in range(10)])
        go.set()

    assert [each.result()[0] for each in sent] == [200] * 8
    assert most == 4


async def test_other_content_is_refused() -> None:
    """HTTP 415: other types, and encodings that could hide any amount."""
    async with webhook(Namespace()) as caller:
        assert (await caller.post(MUTATE, GATED, "text/plain"))[0] == 415
        assert (await caller.post(MUTATE, GATED, "application/json; charset=utf-8"))[0] == 200
        bomb = gzip.compress(b" " * (64 * 1024 * 1024))
        assert (await caller.post(MUTATE, bomb, **{"Content-Encoding": "gzip"}))[0] == 415
        assert await caller.gates()


async def test_unknown_path_and_method_are_refused() -> None:
    """HTTP 404 and 405."""
    async with webhook(Namespace()) as caller:
        assert (await caller.post("/mutate", GATED))[0] == 404
        async with caller.session.get(MUTATE) as answer:
            assert answer.status == 405


async def test_bug_is_no_silent_allow() -> None:
    """HTTP 500: the failure policy of the hook decides, and the count shows it."""
    async with webhook(Broken()) as caller:
        status, answer = await caller.post(MUTATE, GATED)

        assert status == 500
        assert b"allowed" not in answer
        assert caller.count(MUTATE, "error") == 1


async def test_labelled_deployment_without_cached_rollout_is_read_live() -> None:
    """The cache may be a moment behind; the gate must not be."""
    directory = Namespace(cached=(), live=(governor(),))
    async with webhook(directory) as caller:
        _, answer = await caller.post(MUTATE, LABELLED)

        assert names.RELEASE in json.dumps(reviews.operations(answer))
        assert directory.reads == 1


async def test_labelled_deployment_is_denied_when_the_live_read_fails() -> None:
    """Nobody can say whether it has to be gated: the user is told to try again."""
    async with webhook(Namespace(cached=(), live=Unavailable("overloaded"))) as caller:
        _, answer = await caller.post(MUTATE, LABELLED)

        found = json.loads(answer)["response"]
        assert found["allowed"] is False
        assert (found["status"]["code"], found["status"]["reason"]) == (503, "ServiceUnavailable")
        assert "overloaded" in found["status"]["message"]


async def test_labelled_deployment_is_denied_when_the_live_read_hangs() -> None:
    """Before the API server's own timeout, so that the reason arrives."""
    async with webhook(Namespace(cached=(), live=asyncio.Event()), live_read_seconds=0.05) as caller:
        _, answer = await caller.post(MUTATE, LABELLED)

        assert "did not answer in time" in json.loads(answer)["response"]["status"]["message"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (GATED, "unlabelled"),
        (
            reviews.review(deployment("echo:1", None, LABEL), deployment("echo:2"), user=reviews.RECONCILER),
            "the reconciler",
        ),
    ],
    ids=["unlabelled", "reconciler"],
)
async def test_nobody_else_waits_for_a_live_read(body: bytes, why: str) -> None:
    """The lenient hook and our own reconciler must not hang on the API server."""
    directory = Namespace(cached=())
    async with webhook(directory) as caller:
        status, _ = await caller.post(MUTATE, body)

        assert (status, directory.reads) == (200, 0), why


ALPHA_ROLLOUT: Json = {
    "apiVersion": "rollouts.kruise.io/v1alpha1",
    "kind": "Rollout",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "objectRef": {"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
        "strategy": {"canary": {"steps": [{"weight": 20}]}},
    },
}


def conversion_review(*objects: Any) -> bytes:
    """Build the review of a list."""
    request = {"uid": "1", "desiredAPIVersion": "rollouts.kruise.io/v1beta1", "objects": objects}
    review = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request}
    return json.dumps(review).encode()


async def test_rollouts_are_converted() -> None:
    """ConversionReview v1, order kept, the same uid; one failure fails the review with its reason."""
    first, second = ({**ALPHA_ROLLOUT, "metadata": {"name": name}} for name in ("a", "b"))
    async with webhook(Namespace()) as caller:
        status, answer = await caller.post("/convert", conversion_review(first, second))
        _, failed = await caller.post(
            "/convert", conversion_review(first, {**ALPHA_ROLLOUT, "kind": "Sheep"})
        )

    found = json.loads(answer)["response"]
    assert status == 200
    assert (found["uid"], found["result"]["status"]) == ("1", "Success")
    assert [each["metadata"]["name"] for each in found["convertedObjects"]] == ["a", "b"]
    assert found["convertedObjects"][0]["spec"]["workloadRef"]["name"] == "web"
    assert json.loads(failed)["response"]["result"]["status"] == "Failure"
    assert json.loads(failed)["response"]["convertedObjects"] == []
    assert "Rollout web" in json.loads(failed)["response"]["result"]["message"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([], "must be an object"),
        (1, "must be an object"),
        ({**ALPHA_ROLLOUT, "filler": "x" * 2 * 1024 * 1024}, "larger than any that an API server stores"),
        (
            {**ALPHA_ROLLOUT, "spec": {"strategy": {"canary": {"steps": [{}] * 500_000}}}},
            "500000 elements, more than the 200",
        ),
    ],
    ids=["list", "number", "large", "many steps"],
)
async def test_object_that_no_api_server_sends_is_refused(value: Any, why: str) -> None:
    """Before work is put into it."""
    async with webhook(Namespace()) as caller:
        _, answer = await caller.post("/convert", conversion_review(value))

        assert why in json.loads(answer)["response"]["result"]["message"]
        assert await caller.gates()


async def test_lists_of_many_rollouts_may_be_larger_than_reviews_of_one() -> None:
    """The API server converts a list in one review; there is an end to that as well."""
    filler = {**ALPHA_ROLLOUT["metadata"], "annotations": {"filler": "x" * 1024 * 1024}}
    body = conversion_review(*[{**ALPHA_ROLLOUT, "metadata": filler}] * 10)
    async with webhook(Namespace()) as caller:
        assert len(body) > MAX_BODY_BYTES
        assert (await caller.post("/convert", body))[0] == 200
        assert (await caller.post("/convert", b" " * (MAX_CONVERSION_BYTES + 1)))[0] == 413
        assert await caller.gates()


def alone() -> Endpoints:
    """Build the endpoints without a server around them."""
    return Endpoints(Namespace(), POLICY, Rules(), ManualClock(NOW), Log("webhook"))


async def test_admission_is_answered_while_a_large_review_is_converted() -> None:
    """Between two of its objects everybody else has a turn: the order tells, not the time."""
    endpoints = alone()
    converting = asyncio.create_task(endpoints.convert(conversion_review(*[ALPHA_ROLLOUT] * 100)))
    await asyncio.sleep(0)  # the conversion begins

    answer, _ = await asyncio.create_task(endpoints.mutate_deployment(GATED))

    assert names.RELEASE in json.dumps(reviews.operations(answer))
    assert not converting.done()
    assert (await converting)[1] == "converted"


async def test_few_reviews_are_converted_at_a_time() -> None:
    """One more waits, however short it is: turns of admission must not become rare."""
    endpoints, ended = alone(), list[str]()

    async def convert(name: str, objects: int) -> None:
        await endpoints.convert(conversion_review(*[ALPHA_ROLLOUT] * objects))
        ended.append(name)

    long = [convert("long", 50) for _ in range(MOST_AT_ONCE)]
    await asyncio.gather(*long, convert("short", 1))

    assert ended[0] == "long"
    assert sorted(ended) == ["long", "long", "short"]
