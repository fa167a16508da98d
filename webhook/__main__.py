"""The admission process: composes settings, caches, certificates and the server. Decides nothing itself."""

import os
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, NoReturn

from certs.injection import Endpoint, ServiceEndpoint, parse_url
from certs.serving import ServingCertificates
from certs.upkeep import Installation
from kube.cache import Cache
from kube.client import Client
from kube.login import log_in
from kube.owners import owner_reference
from kube.patience import answered
from kube.resources import (
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    SECRETS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
from kube.watch import Watch
from rollout.validation import Rules
from runtime.metrics import product_version
from runtime.process import Process, load_or_exit, run
from webhook.directory import CachedDirectory, rollout_cache, traffic_routing_cache
from webhook.endpoints import Endpoints
from webhook.policy import Policy
from webhook.server import FINISH_SECONDS, Listener, Reviewer, Traffic
from webhook.settings import WebhookSettings

_CLOSE_SECONDS = 5.0


async def start(settings: WebhookSettings, process: Process) -> None:
    """Start everything; ready once the caches are synced and the API server can call us."""
    client = await _client(settings, process)
    rollouts, routings = rollout_cache(), traffic_routing_cache()
    for cache in (rollouts, routings):
        _watch(process, client, cache)
    certificates = await _certificates(settings, process, client)
    process.start_task("certificates", certificates.run)
    process.health.add_ready("certificates", certificates.ready)
    endpoints = Endpoints(
        CachedDirectory(rollouts, routings, client),
        Policy(settings.reconciler, settings.approver_groups),
        _rules(settings),
        process.clock,
        process.log,
    )
    traffic = Traffic(process.metrics.registry)
    reviewer = Reviewer(
        endpoints.by_path(), traffic, process.clock, process.log, draining=lambda: process.stopping
    )
    listener = Listener(reviewer, settings.bind_address, settings.port, certificates.ssl_context)
    await listener.start()
    process.on_stop("webhook", listener.stop, _CLOSE_SECONDS + FINISH_SECONDS)
    process.log.info("Listening", server="webhook", port=listener.port)


async def _client(settings: WebhookSettings, process: Process) -> Client:
    login = await log_in(kubeconfig=settings.kubeconfig or None, environ=os.environ)
    agent = f"sluice-webhook/{product_version()}"
    stack = AsyncExitStack()
    process.on_stop("API client", stack.aclose, _CLOSE_SECONDS)
    observer = process.metrics.observe_api_request
    return await stack.enter_async_context(Client(login, user_agent=agent, observer=observer))


def _watch(process: Process, client: Client, cache: Cache[dict[str, Any]]) -> None:
    plural = cache.resource.plural
    watch = Watch(client, cache)
    process.start_task(f"watch {plural}", watch.run)
    process.metrics.watch(plural, lambda: watch.silent_seconds)
    process.health.add_ready(f"cache of {plural}", lambda: None if cache.synced else "not synced yet")


async def _certificates(settings: WebhookSettings, process: Process, client: Client) -> ServingCertificates:
    own = DEPLOYMENTS.ref(settings.namespace, "sluice-webhook")
    installation = Installation(
        secret=SECRETS.ref(settings.namespace, settings.secret_name),
        configurations=(
            MUTATING_WEBHOOK_CONFIGURATIONS.ref(None, settings.mutating_configuration),
            VALIDATING_WEBHOOK_CONFIGURATIONS.ref(None, settings.validating_configuration),
        ),
        definitions=(CUSTOM_RESOURCE_DEFINITIONS.ref(None, "rollouts.rollouts.kruise.io"),),
        endpoint=_endpoint(settings),
        owner=await answered(partial(owner_reference, client, own)),
    )
    return ServingCertificates(
        client, installation, clock=process.clock, log=process.log, metrics=process.metrics
    )


def _endpoint(settings: WebhookSettings) -> Endpoint:
    if settings.url:
        return parse_url(settings.url)
    return ServiceEndpoint(settings.namespace, settings.service_name)


def _rules(settings: WebhookSettings) -> Rules:
    return Rules(
        single_traffic_routing=settings.single_traffic_routing,
        partition_percent_limit=settings.partition_percent_limit or None,
    )


def main() -> NoReturn:
    """Run until told to stop."""
    settings = load_or_exit(WebhookSettings, "sluice-webhook", sys.argv[1:], os.environ)
    sys.exit(run("webhook", settings, partial(start, settings), settings.drain_seconds))


if __name__ == "__main__":
    main()
