"""The webhook's certificates, looked after for as long as the process lives.

A round is done at the start, whenever one of the objects concerned changes (watched, so that a reset CA
bundle is back within a moment and nothing is asked for while nothing changes), and when a step is due.
"""

import asyncio
from typing import NoReturn

from prometheus_client import Gauge

from certs.upkeep import Installation, Upkeep
from kube.cache import Cache
from kube.client import Client, Selector
from kube.resources import Ref
from kube.watch import Watch
from runtime.clock import Clock, wait_for_event
from runtime.logs import Log
from runtime.metrics import Metrics

# Changes that come together (a chart applies all our objects at once) are looked at together.
_GATHER_SECONDS = 0.2


class ServingCertificates:
    """Serve with ``ssl_context`` from the start; be sent traffic once ``ready()`` is None; ``run`` always."""

    def __init__(
        self, client: Client, installation: Installation, *, clock: Clock, log: Log, metrics: Metrics
    ) -> None:
        self._client = client
        self._installation = installation
        self._clock = clock
        self._changed = asyncio.Event()
        self._upkeep = Upkeep(client, installation, clock, log)
        self.ssl_context = self._upkeep.ssl_context
        self._expiry = Gauge(
            "sluice_certificate_expiry_timestamp_seconds",
            "When the certificate in use ends, in seconds since 1970.",
            ["certificate"],
            registry=metrics.registry,
        )

    @property
    def ca_bundle(self) -> bytes:
        """What consumers are told to trust, as PEM; empty before the first round."""
        return self._upkeep.bundle.trust()

    def ready(self) -> str | None:
        """Readiness check: None, or why the API server cannot call us yet."""
        return self._upkeep.ready()

    async def run(self) -> None:
        """Look after the certificates until cancelled."""
        watched = (
            self._installation.secret,
            *self._installation.configurations,
            *self._installation.definitions,
        )
        async with asyncio.TaskGroup() as group:
            for ref in watched:
                group.create_task(self._watch(ref))
            group.create_task(self._rounds())

    async def _rounds(self) -> NoReturn:
        while True:
            self._changed.clear()
            wait = await self._upkeep.once()
            self._measure()
            await self._clock.sleep(_GATHER_SECONDS)
            await wait_for_event(self._clock, self._changed, wait)

    async def _watch(self, ref: Ref) -> NoReturn:
        """Hear of every change of one object; what it is now, a round reads itself."""
        cache = Cache(ref.resource, decode=lambda _: True)
        cache.subscribe(lambda _key, _old, _new: self._changed.set())
        selector = Selector(fields=f"metadata.name={ref.name}")
        await Watch(self._client, cache, namespace=ref.namespace, selector=selector).run()

    def _measure(self) -> None:
        loaded, signer = self._upkeep.loaded, self._upkeep.bundle.signer
        for name, pair in (("serving", loaded), ("authority", signer)):
            if pair is not None:
                self._expiry.labels(name).set(pair.certificate.not_valid_after_utc.timestamp())
