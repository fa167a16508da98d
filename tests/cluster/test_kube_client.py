"""Requests against the real API server."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from kube.client import Apply, Client, JsonPatch, Selector
from kube.errors import (
    AlreadyExists,
    Conflict,
    ConnectionFailed,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    Retry,
    TimedOut,
    TooManyRequests,
    Unavailable,
)
from kube.login import Login, log_in
from kube.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    NAMESPACES,
    SECRETS,
    SERVICE_ACCOUNTS,
    Ref,
)
from kube.service_account import act_as
from kube.wire import JsonObject
from sandbox.cluster import Cluster
from tests.cluster.faults import Fault, everything, faulty, lists


@pytest_asyncio.fixture(loop_scope="session")
async def login(cluster: Cluster) -> Login:
    """Log in as the cluster's administrator."""
    return await log_in(environ={}, kubeconfig=str(cluster.kubeconfig))


@pytest_asyncio.fixture(loop_scope="session")
async def client(login: Login) -> AsyncIterator[Client]:
    """Speak to the cluster."""
    async with Client(login, user_agent="test") as client:
        yield client


def config_map(name: str, **data: str) -> JsonObject:
    """Write the simplest of objects."""
    metadata = {"name": name, "labels": {"test": "kube"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def created(client: Client, namespace: str, name: str = "a", **data: str) -> tuple[Ref, JsonObject]:
    """Create a ConfigMap and say where it is."""
    made = await client.create(CONFIG_MAPS, config_map(name, **data), namespace=namespace)
    return CONFIG_MAPS.ref(namespace, name), made


# Each namespace also has a ConfigMap of the controller manager's.
OURS = Selector(labels="test=kube")


def version(found: JsonObject) -> str:
    """Read an object's resourceVersion."""
    return str(found["metadata"]["resourceVersion"])


async def test_object_is_created_read_changed_and_deleted(client: Client, namespace: str) -> None:
    """One round through the verbs."""
    ref, _ = await created(client, namespace, a="1", b="1")
    await client.patch(ref, {"data": {"a": None, "b": "2"}})
    assert (await client.get(ref))["data"] == {"b": "2"}

    whole = await client.get(ref)
    await client.replace(ref, whole | {"data": {"c": "3"}})
    assert (await client.get(ref))["data"] == {"c": "3"}

    await client.delete(ref)
    with pytest.raises(NotFound):
        await client.get(ref)


async def test_second_create_already_exists(client: Client, namespace: str) -> None:
    """Deterministic names are the lock against doing things twice."""
    await created(client, namespace)
    with pytest.raises(AlreadyExists):
        await created(client, namespace)


async def test_merge_patch_guarded_by_version_conflicts(client: Client, namespace: str) -> None:
    """A write based on a stale observation does nothing."""
    ref, made = await created(client, namespace, a="1")
    await client.patch(ref, {"data": {"a": "2"}})
    with pytest.raises(Conflict) as caught:
        await client.patch(ref, {"metadata": {"resourceVersion": version(made)}, "data": {"a": "3"}})

    assert caught.value.retry is Retry.AFTER_OBSERVING
    assert (await client.get(ref))["data"] == {"a": "2"}


async def test_merge_patch_guarded_by_uid_conflicts(client: Client, namespace: str) -> None:
    """A namesake is not the object that was meant."""
    ref, made = await created(client, namespace)
    await client.delete(ref)
    await created(client, namespace)
    with pytest.raises(Conflict):
        await client.patch(ref, {"metadata": {"uid": made["metadata"]["uid"]}, "data": {"a": "3"}})
    with pytest.raises(Conflict):
        await client.patch(
            ref, {"metadata": {"uid": made["metadata"]["uid"], "resourceVersion": version(made)}}
        )


async def test_replace_of_a_stale_object_conflicts(client: Client, namespace: str) -> None:
    """The resourceVersion in the body is the guard."""
    ref, made = await created(client, namespace, a="1")
    await client.patch(ref, {"data": {"a": "2"}})
    with pytest.raises(Conflict):
        await client.replace(ref, made)


async def test_delete_of_another_uid_or_version_conflicts(client: Client, namespace: str) -> None:
    """Neither a namesake nor a changed object is deleted."""
    ref, made = await created(client, namespace)
    await client.patch(ref, {"data": {"a": "2"}})
    with pytest.raises(Conflict):
        await client.delete(ref, uid="00000000-0000-0000-0000-000000000000")
    with pytest.raises(Conflict):
        await client.delete(ref, resource_version=version(made))

    await client.delete(ref, uid=made["metadata"]["uid"])


async def test_dry_run_changes_nothing(client: Client, namespace: str) -> None:
    """Every verb that writes has one."""
    await client.create(CONFIG_MAPS, config_map("dry"), namespace=namespace, dry_run=True)
    ref, made = await created(client, namespace, a="1")
    await client.patch(ref, {"data": {"a": "2"}}, dry_run=True)
    await client.replace(ref, made | {"data": {"a": "3"}}, dry_run=True)
    await client.delete(ref, dry_run=True)

    listing = await client.list(CONFIG_MAPS, namespace=namespace, selector=Selector(fields="metadata.name=a"))
    assert [item["data"] for item in listing.items] == [{"a": "1"}]


async def test_json_patch_whose_test_fails_is_invalid(client: Client, namespace: str) -> None:
    """The `test` operation makes a patch conditional."""
    ref, _ = await created(client, namespace, a="1")
    change = JsonPatch(
        [
            {"op": "test", "path": "/data/a", "value": "other"},
            {"op": "replace", "path": "/data/a", "value": "2"},
        ]
    )
    with pytest.raises(Invalid):
        await client.patch(ref, change)

    await client.patch(ref, JsonPatch([{"op": "replace", "path": "/data/a", "value": "2"}]))
    assert (await client.get(ref))["data"] == {"a": "2"}


async def test_apply_creates_and_conflicts_with_other_managers(
    client: Client, login: Login, namespace: str
) -> None:
    """Fields of others are taken over only by force."""
    ref = CONFIG_MAPS.ref(namespace, "applied")
    await client.patch(ref, Apply(config_map("applied", a="1")))
    async with Client(login, user_agent="test", field_manager="other") as other:
        with pytest.raises(Conflict) as caught:
            await other.patch(ref, Apply(config_map("applied", a="2")))
        await other.patch(ref, Apply(config_map("applied", a="2"), force=True))

    assert caught.value.has_cause("FieldManagerConflict")
    assert (await client.get(ref))["data"] == {"a": "2"}


async def test_subresources_are_reached(client: Client, namespace: str) -> None:
    """Scale is read and written beside the object."""
    template = {
        "metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [{"name": "x", "image": "x"}]},
    }
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": template}
    await client.create(DEPLOYMENTS, {"metadata": {"name": "x"}, "spec": spec}, namespace=namespace)
    ref = DEPLOYMENTS.ref(namespace, "x")
    await client.patch(ref, {"spec": {"paused": True}})
    scale = await client.get(ref, subresource="scale")
    await client.patch(ref, {"status": {"collisionCount": 3}}, subresource="status")

    assert scale["kind"] == "Scale"
    assert (await client.get(ref))["status"]["collisionCount"] == 3


async def test_list_is_complete_over_pages(client: Client, namespace: str) -> None:
    """Five objects in pages of two, all of one moment."""
    for name in "abcde":
        await created(client, namespace, name)
    collection = client.pages(CONFIG_MAPS, namespace=namespace, selector=OURS, page_size=2)
    pages = [page async for page in collection]

    assert [len(page.items or ()) for page in pages] == [2, 2, 1]
    assert len({page.metadata.resource_version for page in pages}) == 1


async def test_listed_objects_tell_their_kind(client: Client, namespace: str) -> None:
    """The API server leaves it out in lists; callers need not know."""
    await created(client, namespace)
    listing = await client.list(CONFIG_MAPS, namespace=namespace)

    assert {(item["apiVersion"], item["kind"]) for item in listing.items} == {("v1", "ConfigMap")}
    assert int(listing.resource_version) > 0


async def test_client_certificate_says_who_we_are(client: Client) -> None:
    """As the sandbox's kubeconfig has it."""
    identity = await client.whoami()

    assert "system:masters" in identity.groups


async def test_process_acts_as_a_service_account(client: Client, login: Login, namespace: str) -> None:
    """By a token of its own, although the login presents a client certificate."""
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}}, namespace=namespace)
    async with Client(await act_as(login, namespace, "robot"), user_agent="test") as robot:
        identity = await robot.whoami()
        with pytest.raises(Forbidden) as caught:
            await robot.list(SECRETS, namespace=namespace)

    assert identity.username == f"system:serviceaccount:{namespace}:robot"
    assert f"system:serviceaccounts:{namespace}" in identity.groups
    assert caught.value.retry is Retry.WHEN_CHANGED


async def test_missing_service_account_is_told(login: Login, namespace: str) -> None:
    """A typo is not answered by impersonating nobody."""
    with pytest.raises(NotFound):
        await act_as(login, namespace, "nobody")


async def test_process_that_may_not_ask_for_tokens_impersonates(
    client: Client, login: Login, namespace: str
) -> None:
    """The second way; with neither right, it is refused."""
    for name in ("robot", "person"):
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": name}}, namespace=namespace)
    person = await act_as(login, namespace, "person")
    with pytest.raises(Forbidden):
        await act_as(person, namespace, "robot")

    await allow_impersonation(client, namespace, "person")
    async with Client(await act_as(person, namespace, "robot"), user_agent="test") as robot:
        identity = await robot.whoami()
    assert identity.username == f"system:serviceaccount:{namespace}:robot"
    assert f"system:serviceaccounts:{namespace}" in identity.groups


async def allow_impersonation(client: Client, namespace: str, name: str) -> None:
    """Grant what impersonating a ServiceAccount takes."""
    rules = [{"apiGroups": [""], "resources": ["serviceaccounts", "groups"], "verbs": ["impersonate"]}]
    role = f"{namespace}-{name}"
    await client.create(CLUSTER_ROLES, {"metadata": {"name": role}, "rules": rules})
    binding = {
        "metadata": {"name": role},
        "roleRef": {"apiGroup": CLUSTER_ROLES.group, "kind": CLUSTER_ROLES.kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    await client.create(CLUSTER_ROLE_BINDINGS, binding)


async def test_refused_token_is_renewed(client: Client, login: Login, namespace: str) -> None:
    """After a 401 the next request has a new token."""
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}}, namespace=namespace)
    acting = await act_as(login, namespace, "robot")
    before = await acting.credentials.headers()
    acting.credentials.refused()

    assert await acting.credentials.headers() != before


async def test_observer_hears_of_each_request_once(login: Login, namespace: str) -> None:
    """With verb, kind and code; 0 where there was no answer."""
    heard: list[tuple[str, str, int]] = []

    def observe(verb: str, resource: str, code: int, seconds: float) -> None:
        assert seconds >= 0
        heard.append((verb, resource, code))

    async with faulty(login) as server, Client(server.login, user_agent="test", observer=observe) as client:
        await created(client, namespace)
        with pytest.raises(NotFound):
            await client.get(CONFIG_MAPS.ref(namespace, "missing"))
        server.down = True
        with pytest.raises(ConnectionFailed):
            await client.patch(CONFIG_MAPS.ref(namespace, "a"), {})

    assert heard == [("create", "configmaps", 201), ("get", "configmaps", 404), ("patch", "configmaps", 0)]


async def test_throttling_is_told_with_its_delay(login: Login) -> None:
    """And nothing is sent a second time on our own account."""
    async with faulty(login) as server, Client(server.login, user_agent="test") as client:
        server.add(Fault(everything, status=429, reason="TooManyRequests", headers={"Retry-After": "3"}))
        with pytest.raises(TooManyRequests) as caught:
            await client.list(NAMESPACES)

        assert caught.value.retry_after == 3
        assert len(server.asked) == 1


async def test_unavailable_server_is_told(login: Login) -> None:
    """A starting API server answers 503."""
    async with faulty(login) as server, Client(server.login, user_agent="test") as client:
        server.add(Fault(everything, status=503, reason="ServiceUnavailable"))
        with pytest.raises(Unavailable):
            await client.list(NAMESPACES)


async def test_answer_that_is_cut_is_no_answer(login: Login) -> None:
    """Half a list is never taken for a list."""
    async with faulty(login) as server, Client(server.login, user_agent="test") as client:
        server.add(Fault(lists, stop_after=100))
        with pytest.raises(ConnectionFailed):
            await client.list(NAMESPACES)


async def test_answer_that_does_not_come_times_out(login: Login) -> None:
    """No request waits for ever."""
    async with faulty(login) as server:
        server.add(Fault(lists, stop_after=100, silently=True))
        async with Client(server.login, user_agent="test", request_seconds=0.2) as client:
            with pytest.raises(TimedOut) as caught:
                await client.list(NAMESPACES)

    assert caught.value.outcome_unknown


async def test_page_that_expired_is_told(login: Login, namespace: str) -> None:
    """The caller lists again; it never gets half a collection."""
    async with faulty(login) as server, Client(server.login, user_agent="test") as client:
        for name in "abc":
            await created(client, namespace, name)
        server.add(Fault(lambda request: "continue" in request.query, status=410, reason="Expired"))
        with pytest.raises(Expired):
            async for _ in client.pages(CONFIG_MAPS, namespace=namespace, page_size=2):
                pass
