"""How many mutating reviews the webhook answers: over real TLS, on one core, at 8 connections.

    python benchmarks/webhook_throughput.py [--seconds 5]

The server runs in a process of its own, so its CPU time says how many reviews a whole core would answer,
whatever else the machine is doing. Latency is what a caller on the same machine sees.
"""  # noqa: INP001 - a script to run, not a package to import

import argparse
import asyncio
import json
import multiprocessing
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from statistics import quantiles
from typing import Any

from prometheus_client import CollectorRegistry

from certs.bundle import pem
from certs.issue import new_authority, new_serving
from certs.tls import present, server_context
from rollout.gate import Governor, Standing
from rollout.validation import Rules
from runtime.clock import SystemClock
from runtime.logs import Log
from webhook.endpoints import Endpoints
from webhook.policy import Policy
from webhook.server import Listener, Reviewer, Traffic

CONNECTIONS = 8
PATH = "/mutate/deployments"
HELD = {"rollouts.kruise.io/in-progressing": '{"rolloutName":"web"}', "sluice.dev/release": "k4x9d"}
Json = dict[str, Any]


class OneRollout:
    """A directory in which every Deployment has its Rollout."""

    def governors(self, namespace: str, _deployment: str) -> Sequence[Governor]:
        """Return the one Rollout."""
        return (Governor("web", namespace, "uid", Standing.ACTIVE, "", None),)

    async def read_governors(self, namespace: str, deployment: str) -> Sequence[Governor]:
        """Return the same."""
        return self.governors(namespace, deployment)

    def has_rollout(self, namespace: str, name: str | None) -> bool:
        """Know the one."""
        del namespace
        return bool(name)

    def needs_pin(self, _namespace: str, _service: str, _pinned_by: str | None) -> bool:
        """Say yes."""
        return True

    def rollouts(self, _namespace: str) -> Sequence[Json]:
        """Return none."""
        return ()

    def traffic_routings(self, _namespace: str) -> Mapping[str, Json]:
        """Return none."""
        return {}


def deployment(image: str, annotations: Json, **spec: Any) -> Json:
    """Build a Deployment as big as they come: 5 kB, with managed fields."""
    environment = [{"name": f"VARIABLE_{number}", "value": "value" * 4} for number in range(25)]
    container = {"name": "web", "image": image, "env": environment}
    fields: Json = {"f:spec": {f"f:field{number}": {} for number in range(60)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "generation": 7,
            "labels": {"rollouts.kruise.io/workload-type": "deployment"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x" * 1500, **annotations},
            "managedFields": [{"manager": "kubectl", "fieldsType": "FieldsV1", "fieldsV1": fields}],
        },
        "spec": {
            "replicas": 5,
            "strategy": {"type": "RollingUpdate"},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
            **spec,
        },
        "status": {"replicas": 5, "conditions": [{"type": "Available", "message": "m" * 60}] * 2},
    }


def review(old: Json, new: Json) -> bytes:
    """Build the body of a review."""
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "operation": "UPDATE",
        "name": "web",
        "namespace": "shop",
        "userInfo": {"username": "jane", "groups": ["system:authenticated"]},
        "object": new,
        "oldObject": old,
    }
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(body, separators=(",", ":")).encode()


CASES = {
    "a template change closes the gate": review(deployment("echo:1", {}), deployment("echo:2", {})),
    "a closed gate is held": review(deployment("echo:2", HELD, paused=True), deployment("echo:2", {})),
    "nothing to do": review(deployment("echo:1", {}), deployment("echo:1", {"note": "1"})),
}


def serve(pipe: Connection) -> None:
    """Serve until told to stop; answer each message with the CPU seconds used so far."""

    async def run() -> None:
        context, authority = server_context(), new_authority(datetime.now(UTC))
        present(context, new_serving(authority, frozenset({"127.0.0.1"}), datetime.now(UTC)))
        clock, log = SystemClock(), Log("webhook")
        endpoints = Endpoints(OneRollout(), Policy("reconciler"), Rules(), clock, log)
        reviewer = Reviewer(endpoints.by_path(), Traffic(CollectorRegistry()), clock, log)
        server = Listener(reviewer, "127.0.0.1", 0, context)
        await server.start()
        pipe.send((server.port, pem(authority.certificate).decode()))
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()

        def asked() -> None:
            if pipe.recv() == "stop":
                stopped.set()
            pipe.send(time.process_time())

        loop.add_reader(pipe.fileno(), asked)
        await stopped.wait()
        await server.stop()

    asyncio.run(run())


@dataclass
class Figures:
    """What one case showed."""

    answered: int
    elapsed: float
    cpu: float
    latencies: list[float]

    def __str__(self) -> str:
        cuts = quantiles(self.latencies, n=100)
        return (
            f"{self.answered / self.cpu:7.0f} reviews a core second, "
            f"{self.answered / self.elapsed:6.0f} a second here; "
            f"p50 {cuts[49] * 1000:.2f} ms, p99 {cuts[98] * 1000:.2f} ms"
        )


async def caller(port: int, trust: ssl.SSLContext, body: bytes, end: float, latencies: list[float]) -> None:
    """Send one review after the other on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
    head = f"POST {PATH}?timeout=5s HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    while (started := time.perf_counter()) < end:
        writer.write(request)
        headers = await reader.readuntil(b"\r\n\r\n")
        if not headers.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(headers.decode())
        length = int(headers.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - started)
    writer.close()


async def measure(pipe: Connection, port: int, trust: ssl.SSLContext, body: bytes, seconds: float) -> Figures:
    """Load the server with one case."""
    latencies: list[float] = []
    pipe.send("cpu")
    before, started = pipe.recv(), time.perf_counter()
    calls = [caller(port, trust, body, started + seconds, latencies) for _ in range(CONNECTIONS)]
    await asyncio.gather(*calls)
    elapsed = time.perf_counter() - started
    pipe.send("cpu")
    return Figures(len(latencies), elapsed, pipe.recv() - before, latencies)


def main() -> None:
    """Print the figures of every case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each case is measured")
    seconds = parser.parse_args().seconds
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,))
    process.start()
    port, authority = ours.recv()
    trust = ssl.create_default_context(cadata=authority)
    for name, body in CASES.items():
        asyncio.run(measure(ours, port, trust, body, 0.5))  # warm
        figures = asyncio.run(measure(ours, port, trust, body, seconds))
        sys.stdout.write(f"{name:36} {len(body) / 1000:4.1f} kB {figures}\n")
    ours.send("stop")
    process.join(10)


if __name__ == "__main__":
    main()
