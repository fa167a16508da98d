"""Every name and address the sandbox gives its parts.

One cluster binds everything it has to one address of its own, so that a second
one (another ordinal) can run beside it in the same private network.
"""

from dataclasses import dataclass
from typing import Any

JsonObject = dict[str, Any]
"""A decoded Kubernetes object."""

RUN_DIRECTORY = "/run/sluice"
"""Where a sandbox keeps its files: on the private namespaces' own tmpfs, gone with them."""

INSIDE_VARIABLE = "SLUICE_SANDBOX_INSIDE"
"""Set in the environment of every process inside the private namespaces."""

INIT_VARIABLE = "SLUICE_SANDBOX_INIT"
"""Set beside it: the id that the namespaces' process 1 has outside, by which another shell can enter them."""

LOGS_VARIABLE = "SLUICE_SANDBOX_LOGS"
"""Names a directory that keeps the logs of all programs and containers when a cluster ends."""

READY_AFTER = "sandbox.sluice.dev/ready-after"
"""Pod annotation: seconds until the pod's demo containers listen."""

READY_AFTER_VARIABLE = "SANDBOX_READY_AFTER"
"""The same as an environment variable of one container; wins over the annotation."""

DRAINS_VARIABLE = "SANDBOX_DRAINS"
"""Set in a demo container: on SIGTERM it answers what is open before it ends."""

DEFAULT_READY_AFTER = 0.3
"""What a fast image needs on a real node; the project's published timings assume it."""

INGRESS_CLASS = "nginx"


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of one cluster, told apart by its ordinal (0 to 3)."""

    ordinal: int = 0

    @property
    def services(self) -> str:
        """The range of Service addresses."""
        return f"10.{self.ordinal}.0.0/16"

    @property
    def host(self) -> str:
        """Where the control plane listens: the address Kubernetes itself gives Service `kubernetes`."""
        return f"10.{self.ordinal}.0.1"

    @property
    def shared_pods(self) -> str:
        """Pods whose processes live in the sandbox's own network and bind their address."""
        return f"10.{244 + self.ordinal}.0.0/17"

    def shared_pod(self, number: int) -> str:
        """Return the number-th address of the pods that share the sandbox's network."""
        return f"10.{244 + self.ordinal}.{number // 250}.{number % 250 + 2}"

    def isolated_pod(self, number: int) -> str:
        """Return the number-th address of the pods that have a network namespace of their own."""
        return f"10.{244 + self.ordinal}.{128 + number // 250}.{number % 250 + 2}"

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.host}:443"

    @property
    def etcd(self) -> str:
        """Etcd's client URL."""
        return f"http://{self.host}:2379"

    @property
    def data_plane(self) -> str:
        """Where the ingress controller answers."""
        return "http://127.0.0.1:8000" if self.ordinal == 0 else f"http://{self.host}:8000"

    @property
    def gateway(self) -> str:
        """Where the Gateway answers."""
        return "http://127.0.0.1:8001" if self.ordinal == 0 else f"http://{self.host}:8001"

    @property
    def contour(self) -> str:
        """Where Envoy answers, as Contour tells it."""
        return f"http://{self.host}:8080"

    @property
    def contour_ports(self) -> tuple[int, int, int, int]:
        """What Contour and Envoy need beside it: xDS, health and metrics, debugging, Envoy's statistics."""
        return 8004, 8005, 8006, 8007

    @property
    def artifacts(self) -> str:
        """Where GitOps controllers fetch what they are to apply."""
        return f"http://{self.host}:8002"

    @property
    def flux_health(self) -> str:
        """Where Flux's controller says whether it is well."""
        return f"{self.host}:8003"
