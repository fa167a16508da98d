"""What the reconciler is told at its start."""

from dataclasses import dataclass

from runtime.settings import ProcessSettings, integer, optional, setting, text


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
