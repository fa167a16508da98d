"""What must change in an object so that the API server finds and trusts the webhook.

JSON in, JSON patch operations out, None when all is right already. Two kinds of consumers: webhook
configurations (each entry keeps its own path) and the custom resource definition (its whole
conversion is ours). Knows nothing of where objects come from.
"""

import base64
import binascii
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never
from urllib.parse import urlsplit

from certs.bundle import Fingerprint, fingerprints
from certs.issue import Names

JsonObject = Mapping[str, Any]
Operations = Sequence[Mapping[str, Any]]
"""JSON patch operations (RFC 6902)."""

CONVERSION_PATH = "/convert"
# The only version of ConversionReview that exists besides the long removed v1beta1.
CONVERSION_REVIEW_VERSIONS = ["v1"]
DEFAULT_PORT = 443
"""What the API server takes for a Service without a port."""


@dataclass(frozen=True, slots=True)
class ServiceEndpoint:
    """Reached through a Service, the way inside a cluster."""

    namespace: str
    name: str
    port: int = DEFAULT_PORT

    def names(self) -> Names:
        """Return the host names the API server, and people, may use."""
        host = f"{self.name}.{self.namespace}.svc"
        return frozenset({host, f"{host}.cluster.local"})


@dataclass(frozen=True, slots=True)
class UrlEndpoint:
    """Reached by URL, for a webhook that runs outside the cluster."""

    url: str

    def names(self) -> Names:
        """Return the host name or IP address of the URL."""
        host = urlsplit(self.url).hostname or ""
        try:
            return frozenset({str(ipaddress.ip_address(host))})
        except ValueError:
            return frozenset({host})


Endpoint = ServiceEndpoint | UrlEndpoint


def parse_url(text: str) -> UrlEndpoint:
    """Return the endpoint of a ``--url`` setting; raise ValueError saying what it must be."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"must be a URL such as https://webhook.example.com:9443 ({error})") from None
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("must be a URL such as https://webhook.example.com:9443")
    if not parts.hostname.isascii():
        raise ValueError("must have its host name in ASCII (xn--...)")
    if parts.username is not None or parts.query or parts.fragment or "?" in text or "#" in text:
        raise ValueError("must have no user, query or fragment: the API server refuses them")
    return UrlEndpoint(text.rstrip("/"))


def inject(consumer: JsonObject, trust: bytes, endpoint: Endpoint) -> Operations | None:
    """Return the operations that make the consumer trust ``trust`` (PEM) and call the endpoint, or None."""
    if "spec" in consumer:
        return _inject_conversion(consumer["spec"].get("conversion") or {}, trust, endpoint) or None
    operations: list[Mapping[str, Any]] = []
    for index, webhook in enumerate(consumer.get("webhooks") or ()):
        operations += _inject_webhook(index, webhook, trust, endpoint)
    return operations or None


def trusted_by_all(consumers: Iterable[JsonObject]) -> frozenset[Fingerprint] | None:
    """Return the authorities that every entry of every consumer trusts; None when nothing consumes."""
    found = [fingerprints(trust) for consumer in consumers for trust in _trusts(consumer)]
    return frozenset.intersection(*found) if found else None


def _trusts(consumer: JsonObject) -> list[bytes]:
    if "spec" in consumer:
        conversion = consumer["spec"].get("conversion") or {}
        return [_trust((conversion.get("webhook") or {}).get("clientConfig") or {})]
    return [_trust(webhook.get("clientConfig") or {}) for webhook in consumer.get("webhooks") or ()]


def _trust(client_config: JsonObject) -> bytes:
    try:
        return base64.b64decode(client_config.get("caBundle") or "")
    except (binascii.Error, ValueError):
        return b""


def _inject_webhook(
    index: int, webhook: JsonObject, trust: bytes, endpoint: Endpoint
) -> list[Mapping[str, Any]]:
    present = webhook.get("clientConfig") or {}
    wanted = _client_config(endpoint, _path(present, endpoint), trust)
    where = f"/webhooks/{index}"
    change = _change(f"{where}/clientConfig", present, wanted)
    # the entry that was looked at, should somebody have changed the order meanwhile
    same = {"op": "test", "path": f"{where}/name", "value": webhook.get("name")}
    return [same, *change] if change else []


def _inject_conversion(conversion: JsonObject, trust: bytes, endpoint: Endpoint) -> Operations:
    webhook = conversion.get("webhook") or {}
    wanted = _client_config(endpoint, CONVERSION_PATH, trust)
    ours = conversion.get("strategy") == "Webhook" and (
        webhook.get("conversionReviewVersions") == CONVERSION_REVIEW_VERSIONS
    )
    if ours and webhook.get("clientConfig"):
        return _change("/spec/conversion/webhook/clientConfig", webhook["clientConfig"], wanted)
    stanza = {"clientConfig": wanted, "conversionReviewVersions": CONVERSION_REVIEW_VERSIONS}
    return [{"op": "add", "path": "/spec/conversion", "value": {"strategy": "Webhook", "webhook": stanza}}]


def _change(where: str, present: JsonObject, wanted: JsonObject) -> list[Mapping[str, Any]]:
    """Touch as little as possible: whoever applied the rest keeps owning it."""
    if _target(present) != _target(wanted):
        return [{"op": "add", "path": where, "value": wanted}]
    if present.get("caBundle") != wanted["caBundle"]:
        return [{"op": "add", "path": f"{where}/caBundle", "value": wanted["caBundle"]}]
    return []


def _target(client_config: JsonObject) -> object:
    """Return where a client configuration points, with the API server's defaults filled in."""
    service = client_config.get("service")
    if service is None:
        return client_config.get("url")
    port = service.get("port") or DEFAULT_PORT
    return (service.get("namespace"), service.get("name"), service.get("path") or "", port)


def _path(client_config: JsonObject, endpoint: Endpoint) -> str:
    """Return the path of a webhook entry, which is the entry's own and not ours to choose."""
    service, url = client_config.get("service"), client_config.get("url")
    if service is not None:
        return str(service.get("path") or "")
    if not url:
        return ""
    if isinstance(endpoint, UrlEndpoint) and f"{url}/".startswith(f"{endpoint.url}/"):
        return str(url.removeprefix(endpoint.url))
    return urlsplit(url).path


def _client_config(endpoint: Endpoint, path: str, trust: bytes) -> JsonObject:
    bundle = base64.b64encode(trust).decode()
    match endpoint:
        case ServiceEndpoint(namespace, name, port):
            service: dict[str, Any] = {"namespace": namespace, "name": name, "port": port}
            if path:
                service["path"] = path
            return {"service": service, "caBundle": bundle}
        case UrlEndpoint(url):
            return {"url": url + path, "caBundle": bundle}
        case _:
            assert_never(endpoint)
