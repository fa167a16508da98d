"""Flux in a cluster: the real kustomize-controller, which applies what it is given, as GitOps does.

What its source-controller would be for, to fetch repositories, is done here in a few lines: an artifact is
a tarball on this machine, and a GitRepository whose status says where it is. Its kinds take any object.
"""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Iterable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from sandbox.names import JsonObject
from sandbox.program import Specification

SOURCES = "source.toolkit.fluxcd.io/v1/gitrepositories"
KUSTOMIZATIONS = "kustomize.toolkit.fluxcd.io/v1/kustomizations"
REQUESTED = "reconcile.fluxcd.io/requestedAt"
"""Annotation by which `flux reconcile` asks; what was handled last stands in the status."""

_KINDS = {
    "GitRepository": SOURCES,
    "OCIRepository": "source.toolkit.fluxcd.io/v1/ocirepositories",
    "Bucket": "source.toolkit.fluxcd.io/v1/buckets",
    "ExternalArtifact": "source.toolkit.fluxcd.io/v1/externalartifacts",
    "Kustomization": KUSTOMIZATIONS,
}
"""What the controller watches: it does not start without them."""


@dataclass
class Artifacts:
    """Tarballs that can be fetched, named by their content."""

    url: str
    _files: MutableMapping[str, bytes] = field(default_factory=dict)

    def add(self, manifests: Iterable[JsonObject]) -> JsonObject:
        """Pack manifests; returns what a source's `status.artifact` says of them."""
        content = _tarball({"manifests.yaml": _documents(manifests)})
        digest = hashlib.sha256(content).hexdigest()
        self._files[digest] = content
        return {
            "digest": f"sha256:{digest}",
            "lastUpdateTime": "2026-01-01T00:00:00Z",
            "path": f"{digest}.tar.gz",
            "revision": f"main@sha1:{digest[:40]}",
            "size": len(content),
            "url": f"{self.url}/{digest}.tar.gz",
        }

    async def fetch(self, request: web.Request) -> web.Response:
        """Answer one request for a tarball."""
        content = self._files.get(request.match_info["digest"])
        return web.Response(status=404) if content is None else web.Response(body=content)


@asynccontextmanager
async def artifacts(url: str) -> AsyncIterator[Artifacts]:
    """Serve artifacts at a URL until the block ends."""
    found = Artifacts(url)
    served = web.Application()
    served.router.add_get("/{digest}.tar.gz", found.fetch)
    runner = web.AppRunner(served)
    await runner.setup()
    host, _, port = url.removeprefix("http://").rpartition(":")
    try:
        await web.TCPSite(runner, host, int(port)).start()
        yield found
    finally:
        await runner.cleanup()


def definitions() -> Iterable[JsonObject]:
    """Return the CRDs of the kinds that the controller watches."""
    return [_definition(kind, resource) for kind, resource in _KINDS.items()]


def specification(controller: Path, kubeconfig: Path, health: str) -> Specification:
    """Return the controller's program; it acts as administrator, as Flux does by default."""
    return Specification(
        "kustomize-controller",
        [str(controller), "--metrics-addr=0", f"--health-addr={health}", "--interval-jitter-percentage=0"],
        {
            "KUBECONFIG": str(kubeconfig),
            "PATH": "/usr/bin:/bin",
            "HOME": str(kubeconfig.parent),
            "RUNTIME_NAMESPACE": "default",
        },
    )


def source(name: str, artifact: JsonObject) -> JsonObject:
    """Return a GitRepository that has been fetched."""
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": name},
        "spec": {"interval": "1h", "url": "https://git.example.com/web"},
        "status": {"artifact": artifact},
    }


def kustomization(name: str, namespace: str) -> JsonObject:
    """Return a Kustomization that applies the source of its name, whenever it is asked to."""
    return {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": name},
        "spec": {
            "interval": "1h",
            "path": "./",
            "prune": True,
            "targetNamespace": namespace,
            "sourceRef": {"kind": "GitRepository", "name": name},
        },
    }


def _definition(kind: str, resource: str) -> JsonObject:
    group, version, plural = resource.split("/")
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    # Of a source the status is written by whoever makes it, with the rest.
    subresources: JsonObject = {"subresources": {"status": {}}} if kind == "Kustomization" else {}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "versions": [{**served, **subresources}],
        },
    }


def _documents(manifests: Iterable[JsonObject]) -> bytes:
    return "\n---\n".join(json.dumps(each) for each in manifests).encode()


def _tarball(files: Mapping[str, bytes]) -> bytes:
    """Pack files, the same into the same bytes."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
