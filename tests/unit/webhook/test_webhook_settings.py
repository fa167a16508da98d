"""The settings of the admission process: what is assumed, what is refused."""

import pytest

from runtime.settings import SettingsError, load
from webhook.settings import WebhookSettings


def settings(*arguments: str) -> WebhookSettings:
    """Load from arguments alone."""
    return load(WebhookSettings, arguments, {}, "sluice-webhook")


def test_reconciler_is_the_service_account_of_the_chart() -> None:
    """In the namespace of the installation, unless another name is given."""
    assert settings("--namespace=x").reconciler == "system:serviceaccount:x:sluice-reconciler"
    assert settings("--reconciler-username=jane").reconciler == "jane"


def test_approvers_are_groups_separated_by_commas() -> None:
    """None are named by default: the API server's own rights decide."""
    assert settings().approver_groups == ()
    assert settings("--approver-groups=a, system:masters").approver_groups == ("a", "system:masters")


@pytest.mark.parametrize(
    "argument",
    ["--url=http://webhook", "--approver-groups=a,,b", "--port=0x1", "--partition-percent-limit=200"],
)
def test_wrong_setting_is_refused(argument: str) -> None:
    """Before anything is started."""
    with pytest.raises(SettingsError, match=argument.partition("=")[0]):
        settings(argument)
