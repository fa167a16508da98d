"""What the reconciler is told at its start."""

from dataclasses import dataclass

from runtime.settings import ProcessSettings, integer, optional, seconds, setting, text


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconcilerSettings(ProcessSettings):
    """Release governed Deployments step by step: canary pods, traffic, approval, promotion or roll-back."""

    workers: int = setting(
        env="WORKERS",
        text="how many Rollouts are worked on at the same time",
        parse=integer(1, 256),
        default=16,
    )
    lease_name: str = setting(
        env="LEASE_NAME",
        text="the Lease by which replicas agree on who acts",
        parse=text,
        default="sluice-reconciler",
    )
    service_account: str = setting(
        env="SERVICE_ACCOUNT",
        text="outside the cluster: the ServiceAccount to act as, which the webhook's gate recognises",
        parse=optional(text),
        default="",
    )
    identity: str = setting(
        env="POD_NAME",
        text="the name of this replica in the Lease and in events; default: host name and process id",
        parse=optional(text),
        default="",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LeavingSettings(ReconcilerSettings):
    """Have the reconciler end every release and take Sluice out of the cluster; wait until it has."""

    timeout_seconds: float = setting(
        env="LEAVING_TIMEOUT_SECONDS",
        text="how long to wait; then what is left is said, and the exit code is 3",
        parse=seconds(3600),
        default=240.0,
    )
