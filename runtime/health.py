"""Whether a process lives and whether it is ready, answered over HTTP with the reasons.

``/healthz`` fails only where a fresh process is the remedy: answering at all proves that the event
loop turns, and each supervised task must still be under supervision. A task that keeps crashing is
no reason to be killed: a restart would only throw away synced caches. ``/readyz`` names every check
with why it fails. What is checked is the business of whoever adds the check.
"""

import dataclasses
from collections.abc import Callable, Mapping

from aiohttp import hdrs, web

from runtime.logs import Log
from runtime.metrics import Metrics

Check = Callable[[], str | None]
"""Returns None when all is well, else why not. Cheap and synchronous: it looks, it does not ask around."""


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The outcome of all checks of one kind: name to reason, None for passed."""

    results: Mapping[str, str | None]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(reason is None for reason in self.results.values())

    def __str__(self) -> str:
        lines = [f"{name}: {reason or 'ok'}" for name, reason in self.results.items()]
        return "\n".join([*lines, "passed" if self.passed else "failed", ""])


class Health:
    """The checks of one process, by name."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._live: dict[str, Check] = {}
        self._ready: dict[str, Check] = {}

    def add_live(self, name: str, check: Check) -> None:
        """Add a reason to be restarted."""
        self._live[name] = check

    def add_ready(self, name: str, check: Check) -> None:
        """Add a condition for being sent traffic; adding a name again replaces its check."""
        self._ready[name] = check

    def live(self) -> Report:
        """Ask every liveness check."""
        return self._ask(self._live)

    def ready(self) -> Report:
        """Ask every readiness check."""
        return self._ask(self._ready)

    def _ask(self, checks: Mapping[str, Check]) -> Report:
        return Report({name: self._reason(name, check) for name, check in checks.items()})

    def _reason(self, name: str, check: Check) -> str | None:
        try:
            return check()
        except Exception as error:  # noqa: BLE001 - a broken check must not take the others down; logged below
            self._log.exception("A health check failed to run", check=name)
            return f"the check itself failed: {type(error).__name__}"


def application(health: Health, metrics: Metrics) -> web.Application:
    """Return the HTTP application of ``--http-port``: probes and metrics, nothing else."""

    async def healthz(_request: web.Request) -> web.Response:
        return _answer(health.live())

    async def readyz(_request: web.Request) -> web.Response:
        return _answer(health.ready())

    async def exposition(request: web.Request) -> web.Response:
        body, content_type = metrics.expose(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", exposition)
    return app


def _answer(report: Report) -> web.Response:
    return web.Response(text=str(report), status=200 if report.passed else 503)
