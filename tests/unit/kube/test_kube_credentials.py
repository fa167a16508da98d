"""Where credentials come from, and when they are looked at again."""

import json
import stat
import sys
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kube.errors import LoginFailed
from kube.login import RELOAD_SECONDS, Headers, Login, from_pod, log_in, proxy_for

SERVER = "http://10.0.0.1:8080"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def kubeconfig(directory: Path, user: dict[str, Any], **cluster: Any) -> Path:
    """Write a kubeconfig (JSON is YAML)."""
    path = directory / "config"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "contexts": [
            {"name": "one", "context": {"cluster": "one", "user": "me"}},
            {"name": "two", "context": {"cluster": "two", "user": "me", "namespace": "shop"}},
        ],
        "clusters": [
            {"name": "one", "cluster": {"server": SERVER, **cluster}},
            {"name": "two", "cluster": {"server": "http://10.0.0.2:8080"}},
        ],
        "users": [{"name": "me", "user": user}],
    }
    path.write_text(json.dumps(content))
    return path


def bearer(token: str) -> Headers:
    """Give the header of a token."""
    return [("Authorization", f"Bearer {token}")]


async def load(path: Path, clock: Clock | None = None, context: str | None = None) -> Login:
    """Log in with nothing in the environment."""
    return await log_in(environ={}, kubeconfig=str(path), context=context, clock=clock or Clock())


async def test_token_of_the_current_context_is_used(tmp_path: Path) -> None:
    """The plainest kubeconfig."""
    login = await load(kubeconfig(tmp_path, {"token": "secret"}))

    assert login.server == SERVER
    assert await login.credentials.headers() == bearer("secret")


async def test_context_can_be_chosen(tmp_path: Path) -> None:
    """As with kubectl --context."""
    login = await load(kubeconfig(tmp_path, {"token": "secret"}), context="two")

    assert login.server == "http://10.0.0.2:8080"


async def test_context_that_does_not_exist_is_told_with_those_that_do(tmp_path: Path) -> None:
    """A name is mistyped more often than it is missing."""
    path = kubeconfig(tmp_path, {"token": "secret"})

    with pytest.raises(LoginFailed) as caught:
        await load(path, context="tow")

    assert caught.value.message == f"kubeconfig {path} has no context 'tow'; those it has: one, two"


async def test_namespace_is_that_of_the_context(tmp_path: Path) -> None:
    """Or `default`, as for kubectl."""
    path = kubeconfig(tmp_path, {"token": "secret"})

    assert (await load(path)).namespace == "default"
    assert (await load(path, context="two")).namespace == "shop"


async def test_kubeconfig_of_the_environment_is_used(tmp_path: Path) -> None:
    """KUBECONFIG may name several files, of which some are missing."""
    path = kubeconfig(tmp_path, {"token": "secret"})
    login = await log_in(environ={"KUBECONFIG": f"{tmp_path}/missing:{path}"})

    assert login.server == SERVER


async def test_rotated_token_file_is_read_again(tmp_path: Path) -> None:
    """Long-lived processes outlive their first token."""
    token, clock = tmp_path / "token", Clock()
    token.write_text("first\n")
    login = await load(kubeconfig(tmp_path, {"tokenFile": str(token)}), clock)
    token.write_text("second\n")

    assert await login.credentials.headers() == bearer("first")
    clock.now = RELOAD_SECONDS
    assert await login.credentials.headers() == bearer("second")


async def test_refused_token_is_read_again_at_once(tmp_path: Path) -> None:
    """A 401 does not have to wait for the minute to be over."""
    token = tmp_path / "token"
    token.write_text("first")
    login = await load(kubeconfig(tmp_path, {"tokenFile": str(token)}))
    token.write_text("second")
    login.credentials.refused()

    assert await login.credentials.headers() == bearer("second")


def plugin(directory: Path, expires: str) -> dict[str, Any]:
    """Write an exec plugin whose tokens count how often it ran."""
    script = directory / "plugin"
    runs = directory / "runs"
    script.write_text(f"""#!{sys.executable}
import json, pathlib
runs = pathlib.Path({str(runs)!r})
count = int(runs.read_text()) + 1 if runs.exists() else 1
runs.write_text(str(count))
print(json.dumps({{
    "apiVersion": "client.authentication.k8s.io/v1",
    "kind": "ExecCredential",
    "status": {{"token": f"run-{{count}}", "expirationTimestamp": {expires!r}}},
}}))
""")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(script)}}


async def test_plugin_runs_once_while_its_token_lives(tmp_path: Path) -> None:
    """Plugins are slow and may ask a person."""
    clock = Clock()
    login = await load(kubeconfig(tmp_path, plugin(tmp_path, "2099-01-01T00:00:00Z")), clock)
    clock.now = RELOAD_SECONDS

    assert await login.credentials.headers() == bearer("run-1")


async def test_plugin_runs_again_when_its_token_is_over(tmp_path: Path) -> None:
    """By the expiry that it named itself."""
    clock = Clock()
    login = await load(kubeconfig(tmp_path, plugin(tmp_path, "2001-01-01T00:00:00Z")), clock)
    clock.now = RELOAD_SECONDS

    assert await login.credentials.headers() == bearer("run-2")


async def test_plugin_runs_again_when_its_token_is_refused(tmp_path: Path) -> None:
    """Revoked before its time."""
    login = await load(kubeconfig(tmp_path, plugin(tmp_path, "2099-01-01T00:00:00Z")))
    login.credentials.refused()

    assert await login.credentials.headers() == bearer("run-2")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[",
        "[]",
        "{}",
        "just words",
        '{"current-context": "x"}',
        '{"clusters": 1, "contexts": "x"}',
        "\x00",
    ],
)
async def test_unusable_kubeconfig_is_a_login_failure(tmp_path: Path, content: str) -> None:
    """Whatever is in the file, the message names the file."""
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(LoginFailed, match=str(path)):
        await load(path)


async def test_missing_kubeconfig_says_what_to_do() -> None:
    """The most common mistake."""
    with pytest.raises(LoginFailed, match="--kubeconfig"):
        await log_in(environ={"HOME": "/nonexistent"})


async def test_pod_without_a_token_says_so() -> None:
    """automountServiceAccountToken: false."""
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(LoginFailed, match="ServiceAccount"):
        await log_in(environ=environ)


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """Project a ServiceAccount as kubelet does."""
    (tmp_path / "token").write_text("first")
    (tmp_path / "ca.crt").write_text(certificate())
    return tmp_path


def certificate() -> str:
    """Make some certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(hours=1))
        .not_valid_after(datetime.now(UTC) + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


POD = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}


async def test_pod_finds_its_cluster_and_token(account: Path) -> None:
    """Also on IPv6."""
    login = from_pod(POD, account)

    assert login.server == "https://[fd00::1]:443"
    assert await login.credentials.headers() == bearer("first")


async def test_refused_pod_token_is_read_again(account: Path) -> None:
    """Kubelet has put a newer one there."""
    login = from_pod(POD, account)
    (account / "token").write_text("second\n")
    assert await login.credentials.headers() == bearer("first")
    login.credentials.refused()

    assert await login.credentials.headers() == bearer("second")


async def test_pod_token_that_vanished_is_a_login_failure(account: Path) -> None:
    """An error of the tree, so that callers back off."""
    login = from_pod(POD, account)
    (account / "token").unlink()
    login.credentials.refused()

    with pytest.raises(LoginFailed):
        await login.credentials.headers()


async def test_malformed_kubeconfig_does_not_leak_its_token(tmp_path: Path) -> None:
    """The loader's own message quotes the entry that it cannot read."""
    path = kubeconfig(tmp_path, {})
    content = json.loads(path.read_text())
    content["users"] = [{"name": "me", "token": "secret"}]
    path.write_text(json.dumps(content))
    with pytest.raises(LoginFailed) as caught:
        await load(path)

    assert "secret" not in "".join(traceback.format_exception(caught.value))


async def test_credentials_are_in_no_representation(tmp_path: Path) -> None:
    """What is logged by accident must not hold a secret."""
    login = await load(kubeconfig(tmp_path, {"token": "secret"}))

    assert "secret" not in repr(login)


@pytest.mark.parametrize(
    ("exceptions", "proxied"),
    [
        ("", True),
        ("10.0.0.1", False),
        ("10.0.0.0/8, .example.com", False),
        ("192.168.0.0/16", True),
        ("*", False),
    ],
)
def test_proxy_of_the_environment_has_exceptions(exceptions: str, *, proxied: bool) -> None:
    """Clusters' service networks are excepted as CIDRs."""
    environ = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": exceptions}

    assert proxy_for("https://10.0.0.1:443", environ) == ("http://proxy:3128" if proxied else None)


@pytest.mark.parametrize(
    ("exceptions", "proxied"),
    [("example.com", False), (".example.com", False), ("*.example.com", False), ("ample.com", True)],
)
def test_proxy_exceptions_by_name_are_suffixes(exceptions: str, *, proxied: bool) -> None:
    """A suffix ends at a dot."""
    environ = {"https_proxy": "http://proxy:3128", "no_proxy": exceptions}

    assert (proxy_for("https://api.example.com", environ) is not None) is proxied
