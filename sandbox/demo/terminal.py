"""The user at the keyboard: every command is shown before it is run, with what it printed."""

import json

import yaml

from sandbox.cluster import Cluster
from sandbox.demo import tables
from sandbox.demo.expectations import NAMESPACE
from sandbox.demo.narration import Narration
from sandbox.names import JsonObject


class Terminal:
    """Stock clients, run as an administrator of one cluster."""

    def __init__(self, cluster: Cluster, narration: Narration) -> None:
        self._cluster = cluster
        self._narration = narration

    async def run(self, *command: str, stdin: str | None = None, quiet: bool = False) -> str:
        """Run a command; return all that it printed, warnings first."""
        self._narration.command(command)
        completed = await self._cluster.run(*command, stdin=stdin)
        text = completed.stderr + completed.stdout
        self._narration.output("" if quiet else text)
        return text

    async def apply(self, *objects: JsonObject) -> None:
        """Apply manifests from standard input."""
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        await self.run("kubectl", "apply", "-f", "-", stdin=json.dumps(listed))

    async def table(self, resource: str, namespace: str = NAMESPACE) -> tables.Table:
        """Print a `kubectl get` table and read it."""
        place = [] if namespace == NAMESPACE else ["-n", namespace]
        return tables.parse(await self.run("kubectl", "get", resource, *place))

    async def ingress(self, name: str) -> JsonObject:
        """Print an Ingress as far as it routes, and return it."""
        command = ["kubectl", "get", "ingress", name, "-o", "yaml"]
        self._narration.command([*command, "  # annotations and spec"])
        found: JsonObject = yaml.safe_load((await self._cluster.run(*command)).stdout)
        shown = {"metadata": {"annotations": found["metadata"]["annotations"]}, "spec": found["spec"]}
        self._narration.output(yaml.safe_dump(shown, sort_keys=False))
        return found
