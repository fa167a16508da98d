"""Injection: the least change that makes a consumer call us and trust us, and none when it does."""

import base64
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.bundle import fingerprint, pem
from certs.injection import Endpoint, ServiceEndpoint, UrlEndpoint, inject, parse_url, trusted_by_all
from certs.issue import new_authority
from runtime.clock import ManualClock
from tests.unit.certs.memory import configuration, definition

AUTHORITY = new_authority(ManualClock().now()).certificate
TRUST = pem(AUTHORITY)
BUNDLE = base64.b64encode(TRUST).decode()
SERVICE = ServiceEndpoint("kruise-rollout", "sluice-webhook")
URL = UrlEndpoint("https://10.0.0.1:9443")


def injected(consumer: dict[str, Any], endpoint: Endpoint = SERVICE, trust: bytes = TRUST) -> dict[str, Any]:
    """Return the consumer after injection."""
    operations = inject(consumer, trust, endpoint)
    result: dict[str, Any] = jsonpatch.apply_patch(consumer, list(operations or ()))
    return result


def test_only_the_bundle_is_written_where_the_chart_has_set_the_service() -> None:
    """What was applied by others stays theirs."""
    assert inject(configuration("/mutate"), TRUST, SERVICE) == [
        {"op": "test", "path": "/webhooks/0/name", "value": "hook0.sluice.dev"},
        {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": BUNDLE},
    ]


def test_each_entry_keeps_its_own_path() -> None:
    """One configuration has several hooks at several paths."""
    after = injected(configuration("/a", "/b"), URL)

    assert [hook["clientConfig"] for hook in after["webhooks"]] == [
        {"url": "https://10.0.0.1:9443/a", "caBundle": BUNDLE},
        {"url": "https://10.0.0.1:9443/b", "caBundle": BUNDLE},
    ]


def test_service_comes_back_after_a_time_of_url() -> None:
    """A developer's registration by URL is undone by the next replica inside the cluster."""
    after = injected(injected(configuration("/a"), URL))

    service = {"namespace": "kruise-rollout", "name": "sluice-webhook", "port": 443, "path": "/a"}
    assert after["webhooks"][0]["clientConfig"] == {"service": service, "caBundle": BUNDLE}


def test_defaults_that_the_api_server_fills_in_are_no_difference() -> None:
    """A port that was defaulted is not rewritten for ever."""
    consumer = injected(configuration("/a"))
    consumer["webhooks"][0]["clientConfig"]["service"]["port"] = 443

    assert inject(consumer, TRUST, SERVICE) is None


def test_foreign_entry_added_in_front_meanwhile_is_not_overwritten() -> None:
    """The patch names the entry it was made for."""
    operations = inject(configuration("/a"), TRUST, SERVICE)
    changed = {
        "webhooks": [{"name": "other.example.com", "clientConfig": {}}, *configuration("/a")["webhooks"]]
    }

    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(changed, list(operations or ()))


@pytest.mark.parametrize(
    "conversion",
    [
        None,
        {"strategy": "None"},
        {"strategy": "Webhook", "webhook": {"clientConfig": {}, "conversionReviewVersions": ["v1beta1"]}},
        {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"]}},
        {"strategy": "Webhook", "webhook": None},
    ],
    ids=str,
)
def test_conversion_stanza_is_ours_as_a_whole(conversion: dict[str, Any] | None) -> None:
    """Whatever a definition says of conversion, it then says that we convert."""
    after = injected({"spec": {"conversion": conversion} if conversion else {}})

    service = {"namespace": "kruise-rollout", "name": "sluice-webhook", "port": 443, "path": "/convert"}
    assert after["spec"]["conversion"] == {
        "strategy": "Webhook",
        "webhook": {
            "clientConfig": {"service": service, "caBundle": BUNDLE},
            "conversionReviewVersions": ["v1"],
        },
    }


def test_renewed_bundle_of_a_definition_changes_only_the_bundle() -> None:
    """A rotation touches one field."""
    other = pem(new_authority(ManualClock().now()).certificate)
    operations = inject(injected(definition()), other, SERVICE)

    path = "/spec/conversion/webhook/clientConfig/caBundle"
    assert operations == [{"op": "add", "path": path, "value": base64.b64encode(other).decode()}]


paths = st.lists(st.sampled_from("abc"), max_size=3).map(lambda parts: "".join(f"/{part}" for part in parts))
endpoints: st.SearchStrategy[Endpoint] = st.one_of(
    st.builds(ServiceEndpoint, st.sampled_from(["ns", "other"]), st.just("name"), st.integers(1, 65535)),
    st.sampled_from(["https://10.0.0.1:9443", "https://[fd00::1]:1", "https://host"]).map(UrlEndpoint),
)
client_configs: st.SearchStrategy[dict[str, Any] | None] = st.one_of(
    st.none(),
    st.just({}),
    paths.map(lambda path: {"url": f"https://host{path}", "caBundle": "!"}),
    paths.map(lambda path: {"service": {"namespace": "ns", "name": "name", "path": path}}),
    st.just({"service": {"namespace": "ns", "name": "name"}}),
)


@given(st.lists(client_configs, max_size=3), endpoints)
def test_injecting_twice_is_injecting_once(configs: list[Any], endpoint: Endpoint) -> None:
    """Whatever was there, after one injection nothing is left to do and everybody trusts us."""
    webhooks = [{"name": f"n{number}", "clientConfig": config} for number, config in enumerate(configs)]
    after = injected({"webhooks": webhooks}, endpoint)

    assert inject(after, TRUST, endpoint) is None
    assert trusted_by_all([after]) in (None, frozenset({fingerprint(AUTHORITY)}))


@given(client_configs, endpoints, endpoints)
def test_path_survives_every_change_of_endpoint(config: Any, first: Endpoint, second: Endpoint) -> None:
    """Moving from one endpoint to another and back loses no path."""
    there = injected({"webhooks": [{"name": "n", "clientConfig": config}]}, first)
    back = injected(injected(there, second), first)

    assert back == there


def test_what_one_entry_does_not_trust_is_not_trusted_by_all() -> None:
    """One entry with an older bundle counts."""
    other = new_authority(ManualClock().now()).certificate
    both, one = injected(configuration("/a"), trust=TRUST + pem(other)), injected(definition(), trust=TRUST)

    assert trusted_by_all([both]) == frozenset({fingerprint(AUTHORITY), fingerprint(other)})
    assert trusted_by_all([both, one]) == frozenset({fingerprint(AUTHORITY)})
    assert trusted_by_all([both, definition()]) == frozenset()
    assert trusted_by_all([{"webhooks": None}]) is None


@pytest.mark.parametrize("bundle", ["!", "aGVsbG8=", BUNDLE[:-40]])
def test_unreadable_bundle_trusts_nobody(bundle: str) -> None:
    """Garbage in a consumer is replaced, not obeyed."""
    consumer = configuration("/a")
    consumer["webhooks"][0]["clientConfig"]["caBundle"] = bundle

    assert trusted_by_all([consumer]) == frozenset()
    assert injected(consumer)["webhooks"][0]["clientConfig"]["caBundle"] == BUNDLE


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("https://webhook.example.com:9443", {"webhook.example.com"}),
        ("https://10.0.0.1:9443/", {"10.0.0.1"}),
        ("https://[FD00:0::1]:9443/base", {"fd00::1"}),
    ],
)
def test_url_names_the_host_the_certificate_is_for(text: str, names: set[str]) -> None:
    """The serving certificate is for the host that the API server is told."""
    assert parse_url(text).names() == names


@pytest.mark.parametrize(
    "text",
    [
        "",
        "webhook.example.com",
        "http://webhook.example.com",
        "https://",
        "https://user@host",
        "https://host/?query",
        "https://host/#",
        "https://host:port",
        "https://höst",
        "https://[::1",
    ],
)
def test_url_that_the_api_server_would_refuse_is_refused_at_start(text: str) -> None:
    """A mistake in --url shows at once and says what it must be."""
    with pytest.raises(ValueError, match=r"must (be a URL such as|have)"):
        parse_url(text)
