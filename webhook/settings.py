"""What the admission process is told."""

import dataclasses

from certs.injection import parse_url
from runtime.settings import ProcessSettings, boolean, integer, optional, port, seconds, setting, text


def groups(value: str) -> tuple[str, ...]:
    """Parse names of groups, separated by commas."""
    found = tuple(each.strip() for each in value.split(","))
    if not all(found):
        raise ValueError("must be names of groups separated by commas")
    return found


def _url(value: str) -> str:
    return parse_url(value).url


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WebhookSettings(ProcessSettings):
    """The admission process: holds changes of governed Deployments, validates and converts Rollouts."""

    port: int = setting(env="PORT", text="HTTPS port of the webhook", parse=port, default=9443)
    service_name: str = setting(
        env="SERVICE_NAME",
        text="Service through which the API server reaches this process",
        parse=text,
        default="sluice-webhook",
    )
    url: str = setting(
        env="WEBHOOK_URL",
        text="outside a cluster: https URL where the API server reaches this process, instead of a Service",
        parse=optional(_url),
        default="",
    )
    secret_name: str = setting(
        env="SECRET_NAME",
        text="Secret that holds the certificates of all replicas",
        parse=text,
        default="sluice-webhook-certs",
    )
    mutating_configuration: str = setting(
        env="MUTATING_CONFIGURATION",
        text="MutatingWebhookConfiguration that calls this process",
        parse=text,
        default="sluice-mutating",
    )
    validating_configuration: str = setting(
        env="VALIDATING_CONFIGURATION",
        text="ValidatingWebhookConfiguration that calls this process",
        parse=text,
        default="sluice-validating",
    )
    reconciler_username: str = setting(
        env="RECONCILER_USERNAME",
        text="user name of the reconciler, which alone opens gates; empty: its ServiceAccount in --namespace",
        parse=optional(text),
        default="",
    )
    approver_groups: tuple[str, ...] = setting(
        env="APPROVER_GROUPS",
        text="groups whose members may approve, separated by commas; empty: whoever may write Rollouts",
        parse=groups,
        default=(),
    )
    single_traffic_routing: bool = setting(
        env="SINGLE_TRAFFIC_ROUTING",
        text="refuse Rollouts with more than one entry of trafficRoutings",
        parse=boolean,
        default=False,
    )
    partition_percent_limit: int = setting(
        env="PARTITION_PERCENT_LIMIT",
        text="most percent of pods in a step of partition style that routes traffic; 0: no limit",
        parse=integer(0, 100),
        default=0,
    )
    drain_seconds: float = setting(
        env="DRAIN_SECONDS",
        text="how long to answer on after being told to stop, sending each caller elsewhere with its answer",
        parse=seconds(60),
        default=1.0,
    )

    @property
    def reconciler(self) -> str:
        """User name of the reconciler."""
        return self.reconciler_username or f"system:serviceaccount:{self.namespace}:sluice-reconciler"
