"""Who we are to the cluster, and where it is.

Decides which credentials are used (kubeconfig, or the pod's own ServiceAccount), when they are renewed, and
how a process outside the cluster acts as a ServiceAccount. Reading kubeconfig files, exec plugins and the
projected token is kubernetes_asyncio's work. Refuses to know what the identity is allowed to do.

A credential is only ever turned into request headers; it is never part of a message or a representation.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import yaml
from kubernetes_asyncio.client.configuration import Configuration
from kubernetes_asyncio.config.config_exception import ConfigException
from kubernetes_asyncio.config.incluster_config import (
    SERVICE_HOST_ENV_NAME,
    SERVICE_TOKEN_FILENAME,
    InClusterConfigLoader,
)
from kubernetes_asyncio.config.kube_config import (
    ENV_KUBECONFIG_PATH_SEPARATOR,
    KubeConfigLoader,
    KubeConfigMerger,
    load_kube_config,
)

from kube.errors import LoginFailed

Headers = Sequence[tuple[str, str]]
Clock = Callable[[], float]

SERVICE_ACCOUNT_DIRECTORY = Path(SERVICE_TOKEN_FILENAME).parent
# A kubeconfig's token file or plugin answer is looked at again this often, as kubelet and client-go do; the
# loader itself answers from memory while a plugin's token has not expired.
RELOAD_SECONDS = 60.0
# An exec plugin may open a browser for a person, but a process must not hang on it for ever.
LOAD_TIMEOUT_SECONDS = 120.0


class Credentials(Protocol):
    """Something that can say who we are, now."""

    async def headers(self) -> Headers:
        """Give the headers that authenticate a request; raises LoginFailed."""

    def refused(self) -> None:
        """Hear that the cluster did not accept the last headers: load anew before the next request."""


@dataclass(frozen=True, slots=True)
class Login:
    """A cluster's address and our identity there.

    `anonymous_tls` presents no client certificate: the API server looks at a certificate first, so a token
    sent along with one would go unseen.
    """

    server: str
    tls: ssl.SSLContext | None = field(repr=False)
    anonymous_tls: ssl.SSLContext | None = field(repr=False)
    credentials: Credentials = field(repr=False)
    tls_server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)
    namespace: str = "default"
    """Where a person works who names none: the kubeconfig's context says so."""

    def as_bearer(self, credentials: Credentials) -> "Login":
        """Speak to the same cluster with a token, and nothing else, as identity."""
        return replace(self, credentials=credentials, tls=self.anonymous_tls)


async def log_in(
    *,
    environ: Mapping[str, str],
    kubeconfig: str | None = None,
    context: str | None = None,
    clock: Clock = time.monotonic,
) -> Login:
    """Find the cluster: the kubeconfig given, else the pod we run in, else KUBECONFIG, else ~/.kube/config.

    Raises LoginFailed with what was looked for.
    """
    if kubeconfig is None and context is None and environ.get(SERVICE_HOST_ENV_NAME):
        return from_pod(environ)
    path = kubeconfig or environ.get("KUBECONFIG") or str(Path(environ.get("HOME", "~")) / ".kube" / "config")
    return await _from_kubeconfig(path, context, environ, clock)


def from_pod(environ: Mapping[str, str], directory: Path = SERVICE_ACCOUNT_DIRECTORY) -> Login:
    """Log in as the ServiceAccount of the pod we run in; `directory` is where kubelet projects it to."""
    configuration = Configuration()
    loader = InClusterConfigLoader(
        token_filename=str(directory / "token"),
        cert_filename=str(directory / "ca.crt"),
        environ=dict(environ),
    )
    try:
        loader.load_and_set(configuration)
    except (ConfigException, OSError) as error:
        raise LoginFailed(f"the pod's ServiceAccount cannot be used: {error}") from error
    return _login(configuration, _PodToken(loader, configuration), environ)


async def _from_kubeconfig(path: str, context: str | None, environ: Mapping[str, str], clock: Clock) -> Login:
    if not _is_there(path):
        raise LoginFailed(
            f"no kubeconfig at {path}, and this process does not run in a pod: give --kubeconfig"
        )
    configuration = Configuration()
    try:
        if context is not None and context not in (known := _contexts(path)):
            there = ", ".join(known) or "none"
            raise LoginFailed(f"kubeconfig {path} has no context {context!r}; those it has: {there}")
        async with asyncio.timeout(LOAD_TIMEOUT_SECONDS):
            loader = await load_kube_config(path, context, configuration, persist_config=False)
    except _LOADING_FAILS as error:
        raise LoginFailed(f"kubeconfig {path} cannot be used: {_reason(error)}") from None
    login = _login(configuration, _KubeconfigToken(loader, configuration, clock), environ)
    chosen = (loader.current_context or {}).get("context") or {}
    return replace(login, namespace=str(chosen.get("namespace") or login.namespace))


def _contexts(path: str) -> list[str]:
    """Name the contexts of a kubeconfig, which may be several files."""
    merged = KubeConfigMerger(path).config
    return [str(each["name"]) for each in merged["contexts"].value] if merged else []


def _is_there(path: str) -> bool:
    """Look first: the loader would only log that a file is missing."""
    return any(
        Path(part).expanduser().is_file() for part in path.split(ENV_KUBECONFIG_PATH_SEPARATOR) if part
    )


# What the loaders raise for files that are missing, not YAML, or not of the expected shape, and for plugins
# that fail: they check little, so a malformed file surfaces as whatever Python says of it.
_LOADING_FAILS = (
    ConfigException,
    OSError,
    TimeoutError,
    yaml.YAMLError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    AssertionError,
)


def _reason(error: Exception) -> str:
    """Say what failed, without what the loader quotes from the file: it may quote the token."""
    said = str(error).partition("{")[0]
    return f"{type(error).__name__}: {said}".rstrip(": ")


def _login(configuration: Configuration, credentials: Credentials, environ: Mapping[str, str]) -> Login:
    server = str(configuration.host).rstrip("/")
    secure = server.startswith("https:")
    return Login(
        server=server,
        tls=_tls(configuration, with_certificate=True) if secure else None,
        anonymous_tls=_tls(configuration, with_certificate=False) if secure else None,
        credentials=credentials,
        tls_server_name=configuration.tls_server_name,
        proxy=configuration.proxy or proxy_for(server, environ),
    )


def proxy_for(server: str, environ: Mapping[str, str]) -> str | None:
    """Choose the environment's proxy unless NO_PROXY excepts the server by name, suffix, address or CIDR."""
    parts = urlsplit(server)
    proxy = _either_case(environ, f"{parts.scheme}_proxy")
    excepted = (_either_case(environ, "no_proxy") or "").split(",")
    host = parts.hostname or ""
    return None if any(_excepts(part.strip().lower(), host) for part in excepted) else proxy


def _either_case(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name) or environ.get(name.upper()) or None


def _excepts(exception: str, host: str) -> bool:
    if not exception:
        return False
    try:
        return ip_address(host) in ip_network(exception, strict=False)
    except ValueError:  # a name, on either side
        suffix = exception.removeprefix("*").removeprefix(".")
        return host == suffix or host.endswith(f".{suffix}") or exception == "*"


def _tls(configuration: Configuration, *, with_certificate: bool) -> ssl.SSLContext:
    """Trust what the kubeconfig or pod says to trust.

    The strict X.509 profile (default from Python 3.13 on) is not asked for: cluster CAs commonly lack a key
    identifier, and no Go client minds.
    """
    try:
        tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if with_certificate and configuration.cert_file:
            tls.load_cert_chain(configuration.cert_file, configuration.key_file)
    except OSError as error:  # ssl.SSLError is one
        raise LoginFailed(f"the cluster's CA or our client certificate cannot be read: {error}") from error
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    if not configuration.verify_ssl:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    return tls


class _PodToken:
    """The projected token, read again by the loader every minute, as kubelet rotates it."""

    def __init__(self, loader: InClusterConfigLoader, configuration: Configuration) -> None:
        self._loader = loader
        self._configuration = configuration

    async def headers(self) -> Headers:
        try:
            token = await self._configuration.get_api_key_with_prefix("BearerToken")
        except (ConfigException, OSError) as error:
            raise LoginFailed(f"the pod's token cannot be read: {_reason(error)}") from error
        return _authorization(token)

    def refused(self) -> None:
        """Read the file before the next request; the loader's minute is of wall time, which may jump."""
        self._loader.token_expires_at = datetime.min  # noqa: DTZ901  the loader compares naive times


class _KubeconfigToken:
    """A kubeconfig's token, token file, plugin or provider; a client certificate has no headers."""

    def __init__(self, loader: KubeConfigLoader, configuration: Configuration, clock: Clock) -> None:
        self._loader = loader
        self._configuration = configuration
        self._clock = clock
        self._loaded_at = clock()
        self._lock = asyncio.Lock()

    async def headers(self) -> Headers:
        if self._clock() - self._loaded_at >= RELOAD_SECONDS:
            await self._reload()
        return _authorization(self._configuration.api_key.get("BearerToken"))

    def refused(self) -> None:
        self._loaded_at = float("-inf")
        if hasattr(self._loader, "exec_plugin_expiry"):
            del self._loader.exec_plugin_expiry  # else the loader would answer from memory

    async def _reload(self) -> None:
        """Load once, however many requests find the token stale together."""
        async with self._lock:
            if self._clock() - self._loaded_at < RELOAD_SECONDS:
                return
            try:
                async with asyncio.timeout(LOAD_TIMEOUT_SECONDS):
                    await self._loader.load_and_set(self._configuration)
            except _LOADING_FAILS as error:
                raise LoginFailed(
                    f"the kubeconfig's credentials cannot be renewed: {_reason(error)}"
                ) from None
            self._loaded_at = self._clock()


def _authorization(token: str | None) -> Headers:
    return [("Authorization", token.strip())] if token else []
