"""Prometheus metrics of one process, in a registry of its own.

Here are the metrics every process has; a package with metrics of its own makes them with
``registry=metrics.registry``. Label values must be few: kinds, verbs, task names, never object names.
"""

import importlib.metadata
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

_DISTRIBUTION = "sluice"
# From a cached read (1 ms) to the API server's own 60 s request limit.
_API_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The registry of a process and what every process counts."""

    def __init__(self, process: str, version: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._build = Gauge("sluice_build_info", "Always 1.", ["process", "version"], registry=self.registry)
        self._build.labels(process, version).set(1)
        self._task_restarts = Counter(
            "sluice_task_restarts",
            "Supervised tasks that ended unexpectedly and were started again.",
            ["task"],
            registry=self.registry,
        )
        self._api_seconds = Histogram(
            "sluice_api_request_seconds",
            "Requests to the Kubernetes API, by outcome (HTTP status, or 0 when there was no answer).",
            ["verb", "resource", "code"],
            buckets=_API_SECONDS,
            registry=self.registry,
        )

        self._silent = Gauge(
            "sluice_watch_silent_seconds",
            "Time since anything was heard of a kind; the API server says something every minute.",
            ["resource"],
            registry=self.registry,
        )

    def watch(self, resource: str, silent_seconds: Callable[[], float]) -> None:
        """Show how long nothing has been heard of a kind."""
        self._silent.labels(resource).set_function(silent_seconds)

    def expect_task(self, task: str) -> None:
        """Show a task's restarts as 0 before the first, so that an alert on a rise sees it."""
        self._task_restarts.labels(task)

    def task_restarted(self, task: str) -> None:
        """Count one restart of a supervised task."""
        self._task_restarts.labels(task).inc()

    def observe_api_request(self, verb: str, resource: str, code: int, seconds: float) -> None:
        """Count one request to the Kubernetes API."""
        self._api_seconds.labels(verb, resource, str(code)).observe(seconds)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Return the exposition and its content type, in the best format that ``accept`` allows."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


def product_version() -> str:
    """Return the installed version of the product, or ``unknown`` when run from a source tree."""
    try:
        return importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
