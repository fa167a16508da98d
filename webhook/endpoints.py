"""What each path of the webhook answers: decode, look up, judge, log, encode. Knows no HTTP.

The one place where admission may wait: a labelled Deployment that no cached Rollout refers to gets one
live read, and is denied when that fails. Nothing here has side effects: a dry run is answered as any run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from kube.errors import KubeError
from rollout import names, warnings
from rollout.gate import Deployment, Governor
from rollout.validation import Neighbours, Rules
from runtime.clock import Clock
from runtime.logs import Log
from webhook import (
    conversion,
    custom_routes,
    deployments,
    http_routes,
    review,
    rollouts,
    services,
    traffic_routings,
)
from webhook.directory import Directory
from webhook.policy import Policy
from webhook.review import Denial, Request, Review, Verdict

LIVE_READ_SECONDS = 3.0
"""Below the 5 s that the API server gives the strict hook: the denial must arrive with its reason."""

Endpoint = Callable[[bytes], Awaitable[tuple[bytes, str]]]
"""From a body to the answer and one word for its outcome; raises review.Malformed."""
MAX_BODY_BYTES = 7 * 1024 * 1024
"""An API server takes requests of up to 3 MiB; a review of an update carries two such objects."""
_CONVERT = "/convert"
_DEPLOYMENT = msgspec.json.Decoder(Review[Deployment])
_SERVICE = msgspec.json.Decoder(Review[services.Service])
_HTTP_ROUTE = msgspec.json.Decoder(Review[http_routes.HTTPRoute])
_CUSTOM_ROUTE = msgspec.json.Decoder(Review[custom_routes.Object])
_ROLLOUT = msgspec.json.Decoder(Review[rollouts.Object])
_TRAFFIC_ROUTING = msgspec.json.Decoder(Review[traffic_routings.Object])


def body_limit(path: str) -> int:
    """Return how many bytes a request to a path may have."""
    return conversion.MAX_BODY_BYTES if path == _CONVERT else MAX_BODY_BYTES


class Endpoints:
    """The endpoints of one process."""

    def __init__(
        self,
        directory: Directory,
        policy: Policy,
        rules: Rules,
        clock: Clock,
        log: Log,
        live_read_seconds: float = LIVE_READ_SECONDS,
    ) -> None:
        self._directory = directory
        self._policy = policy
        self._rules = rules
        self._clock = clock
        self._log = log
        self._live_read_seconds = live_read_seconds
        self._conversions = asyncio.Semaphore(conversion.MOST_AT_ONCE)

    def by_path(self) -> Mapping[str, Endpoint]:
        """Return every endpoint under the path that the webhook configurations name."""
        return {
            "/mutate/deployments": self.mutate_deployment,
            "/mutate/rollouts": self.mutate_rollout,
            "/mutate/services": self.mutate_service,
            "/mutate/httproutes": self.mutate_http_route,
            "/mutate/custom-routes": self.mutate_custom_route,
            "/validate/rollouts": self.validate_rollout,
            "/validate/trafficroutings": self.validate_traffic_routing,
            _CONVERT: self.convert,
        }

    async def mutate_deployment(self, body: bytes) -> tuple[bytes, str]:
        """Close and hold gates."""
        request = review.decode(_DEPLOYMENT, body, deployments.GROUP, deployments.PLURAL)
        governors = self._directory.governors(request.namespace, request.name)
        if (
            not governors
            and deployments.is_labelled(request)
            and not self._policy.is_reconciler(request.user_info)
        ):
            try:
                governors = await self._read_governors(request)
            except (KubeError, TimeoutError) as error:
                text = warnings.unreadable(
                    request.namespace, str(error) or "the API server did not answer in time"
                )
                return self._answer(
                    request, Verdict(denial=Denial(503, "ServiceUnavailable", text), outcome="unread")
                )
        return self._answer(request, deployments.admit(request, governors, self._policy, self._clock.now()))

    async def mutate_rollout(self, body: bytes) -> tuple[bytes, str]:
        """Stamp approvals."""
        request = review.decode(_ROLLOUT, body, names.GROUP, rollouts.PLURAL)
        return self._answer(request, rollouts.mutate(request, self._policy, self._clock.now()))

    async def mutate_service(self, body: bytes) -> tuple[bytes, str]:
        """Hold pins."""
        request = review.decode(_SERVICE, body, services.GROUP, services.PLURAL)
        in_use = self._directory.needs_pin(request.namespace, request.name, services.pinned_by(request))
        return self._answer(request, services.admit(request, self._policy, in_use=in_use))

    async def mutate_http_route(self, body: bytes) -> tuple[bytes, str]:
        """Let rules follow marks."""
        request = review.decode(_HTTP_ROUTE, body, http_routes.GROUP, http_routes.PLURAL)
        in_use = self._directory.has_rollout(request.namespace, http_routes.routed_by(request))
        return self._answer(request, http_routes.admit(request, self._policy, in_use=in_use))

    async def mutate_custom_route(self, body: bytes) -> tuple[bytes, str]:
        """Make what is asked for; hold what was made."""
        request = review.read(_CUSTOM_ROUTE, body)
        in_use = self._directory.has_rollout(request.namespace, custom_routes.routed_by(request))
        return self._answer(request, custom_routes.admit(request, self._policy, in_use=in_use))

    async def validate_rollout(self, body: bytes) -> tuple[bytes, str]:
        """Check plans, approvals and stamps, on the main resource and on its status."""
        request = review.decode(_ROLLOUT, body, names.GROUP, rollouts.PLURAL)
        neighbours = Neighbours(
            self._directory.rollouts(request.namespace), self._directory.traffic_routings(request.namespace)
        )
        now = self._clock.now()
        return self._answer(request, rollouts.validate(request, self._policy, neighbours, self._rules, now))

    async def validate_traffic_routing(self, body: bytes) -> tuple[bytes, str]:
        """Check what routes through TrafficRoutings."""
        request = review.decode(_TRAFFIC_ROUTING, body, names.GROUP, traffic_routings.PLURAL)
        return self._answer(request, traffic_routings.validate(request))

    async def convert(self, body: bytes) -> tuple[bytes, str]:
        """Convert Rollouts between the served versions."""
        async with self._conversions:
            return await conversion.answer(body)

    async def _read_governors(self, request: Request[Deployment]) -> Sequence[Governor]:
        async with asyncio.timeout(self._live_read_seconds):
            return await self._directory.read_governors(request.namespace, request.name)

    def _answer(self, request: Request[Any], verdict: Verdict) -> tuple[bytes, str]:
        if verdict.outcome != "unchanged":
            # GitOps clients repeat a dry run every few minutes, for ever: nothing came of it.
            write = self._log.debug if request.dry_run else self._log.info
            write(
                "Reviewed",
                outcome=verdict.outcome,
                kind=request.resource.resource,
                namespace=request.namespace,
                name=request.name,
                user=request.user_info.username,
                dry_run=request.dry_run,
                denied=verdict.denial.message if verdict.denial else None,
                **verdict.notes,
            )
        return review.encode(request.uid, verdict), verdict.outcome
