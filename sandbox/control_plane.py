"""Which flags turn the control plane's programs into a fast one-machine cluster.

Pure: from a directory, addresses and options to specifications of programs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.assets import Assets
from sandbox.certificates import Authority, KeyPair, create_authority, create_signing_key
from sandbox.names import Addresses
from sandbox.program import RARELY_COLLECTED, Specification

AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  resources: [{group: coordination.k8s.io, resources: [leases]}]
- level: Metadata
"""


@dataclass(frozen=True, slots=True)
class Options:
    """How a cluster differs from the default one.

    Extra flags are appended, so that they win over the sandbox's own: faults are
    made with them (`--min-request-timeout=5`, `--goaway-chance=0.02`).
    """

    ordinal: int = 0
    nodes: tuple[str, ...] = ("node-1", "node-2")
    audit: bool = False
    access_logs: bool = False
    """Whether the data planes note every request."""
    apiserver_flags: tuple[str, ...] = ()
    controller_manager_flags: tuple[str, ...] = ()
    scheduler_flags: tuple[str, ...] = ()

    @property
    def addresses(self) -> Addresses:
        """The addresses that follow from the ordinal."""
        return Addresses(self.ordinal)


@dataclass(frozen=True, slots=True)
class Identities:
    """All certificates of one cluster."""

    authority: Authority
    front_proxy: Authority
    serving: KeyPair
    aggregator: KeyPair
    token: KeyPair
    admin: KeyPair
    controller_manager: KeyPair
    scheduler: KeyPair
    node: KeyPair


def create_identities(directory: Path, addresses: Addresses) -> Identities:
    """Create the certificates of one cluster."""
    authority = create_authority(directory, "ca")
    front_proxy = create_authority(directory, "front-proxy-ca")
    service = "kubernetes.default.svc"
    hosts = (addresses.host, "127.0.0.1", "localhost", "kubernetes", "kubernetes.default", service)
    return Identities(
        authority=authority,
        front_proxy=front_proxy,
        serving=authority.issue("apiserver", "kube-apiserver", hosts=hosts),
        aggregator=front_proxy.issue("front-proxy-client", "front-proxy-client"),
        token=create_signing_key(directory, "service-account"),
        admin=authority.issue("admin", "sandbox-admin", organization="system:masters"),
        controller_manager=authority.issue("controller-manager", "system:kube-controller-manager"),
        scheduler=authority.issue("scheduler", "system:kube-scheduler"),
        node=authority.issue("node", "sandbox-node", hosts=(addresses.host,)),
    )


def kubeconfig(server: str, authority: Path, identity: KeyPair) -> str:
    """Render a kubeconfig that refers to certificate files (JSON is YAML, but this one is read by people)."""
    return f"""\
apiVersion: v1
kind: Config
current-context: sandbox
clusters:
- name: sandbox
  cluster: {{server: "{server}", certificate-authority: "{authority}"}}
users:
- name: sandbox
  user: {{client-certificate: "{identity.certificate}", client-key: "{identity.key}"}}
contexts:
- name: sandbox
  context: {{cluster: sandbox, user: sandbox, namespace: default}}
"""


def specifications(
    binaries: Assets, directory: Path, identities: Identities, options: Options
) -> Sequence[Specification]:
    """Return the control plane's programs in the order in which they start."""
    flags = {
        "etcd": _etcd(directory, options),
        "kube-apiserver": _apiserver(directory, identities, options),
        "kube-controller-manager": _controller_manager(directory, identities, options),
        "kube-scheduler": _scheduler(directory, options),
    }
    environment = {"HOME": str(directory), "PATH": "/usr/bin:/bin", **RARELY_COLLECTED}
    programs = {name: [str(binaries.controlplane), name] for name in flags}
    if binaries.controller_manager:
        programs["kube-controller-manager"] = [str(binaries.controller_manager)]
    return [Specification(name, [*programs[name], *flags[name]], environment) for name in flags]


def _etcd(directory: Path, options: Options) -> Sequence[str]:
    peer = f"http://{options.addresses.host}:2380"
    return [
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={options.addresses.etcd}",
        f"--advertise-client-urls={options.addresses.etcd}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _apiserver(directory: Path, identities: Identities, options: Options) -> Sequence[str]:
    addresses = options.addresses
    return [
        f"--etcd-servers={addresses.etcd}",
        f"--bind-address={addresses.host}",
        f"--advertise-address={addresses.host}",
        "--secure-port=443",
        f"--service-cluster-ip-range={addresses.services}",
        f"--tls-cert-file={identities.serving.certificate}",
        f"--tls-private-key-file={identities.serving.key}",
        f"--client-ca-file={identities.authority.file}",
        f"--service-account-issuer=https://{addresses.host}",
        f"--service-account-key-file={identities.token.certificate}",
        f"--service-account-signing-key-file={identities.token.key}",
        f"--requestheader-client-ca-file={identities.front_proxy.file}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={identities.aggregator.certificate}",
        f"--proxy-client-key-file={identities.aggregator.key}",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        # No kube-proxy and no endpoints of the API server itself: Services of
        # webhooks are resolved to the addresses in their EndpointSlices.
        "--endpoint-reconciler-type=none",
        "--enable-aggregator-routing=true",
        "--enable-priority-and-fairness=false",
        *(_audit(directory) if options.audit else ()),
        *options.apiserver_flags,
    ]


def _audit(directory: Path) -> Sequence[str]:
    return [
        f"--audit-policy-file={directory / 'audit-policy.yaml'}",
        f"--audit-log-path={directory / 'audit.log'}",
    ]


def _controller_manager(directory: Path, identities: Identities, options: Options) -> Sequence[str]:
    configuration = directory / "controller-manager.kubeconfig"
    return [
        f"--kubeconfig={configuration}",
        f"--authentication-kubeconfig={configuration}",
        f"--authorization-kubeconfig={configuration}",
        f"--bind-address={options.addresses.host}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={identities.token.key}",
        f"--root-ca-file={identities.authority.file}",
        # The default of 20 requests a second makes 100 pods take 4 s instead of 0.9 s.
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
        "--endpointslice-updates-batch-period=100ms",
        # Nobody here reads Endpoints, which take a write for every one of an EndpointSlice.
        "--controllers=*,-endpoints-controller,-endpointslice-mirroring-controller",
        *options.controller_manager_flags,
    ]


def _scheduler(directory: Path, options: Options) -> Sequence[str]:
    configuration = directory / "scheduler.kubeconfig"
    return [
        f"--kubeconfig={configuration}",
        f"--authentication-kubeconfig={configuration}",
        f"--authorization-kubeconfig={configuration}",
        f"--bind-address={options.addresses.host}",
        "--leader-elect=false",
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
        *options.scheduler_flags,
    ]
