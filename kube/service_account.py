"""Acting as a ServiceAccount from outside the cluster.

Decides how: with a token that the API server issues for the account (TokenRequest), or, where we may not ask
for one, by impersonation. Either way the cluster sees the account's name, so that its rights apply and
admission rules that know the account by name hold. Refuses to know what the account is for.
"""

import asyncio
import time
from dataclasses import dataclass, field, replace

from kube.client import Client
from kube.errors import Forbidden, KubeError, LoginFailed
from kube.login import Clock, Credentials, Headers, Login
from kube.resources import SERVICE_ACCOUNTS, Ref

# An hour is the API server's own default; it refuses less than ten minutes.
TOKEN_SECONDS = 3600
# Renewed when this share of the life granted is over, as kubelet does, so that an API server that is away for
# a while does not leave us without.
RENEW_AT = 0.8
USER_AGENT = "sluice-login"


async def act_as(login: Login, namespace: str, name: str, *, clock: Clock = time.monotonic) -> Login:
    """Give a login whose requests are made as this ServiceAccount.

    Raises NotFound when there is no such account, and Forbidden when neither way is open to `login`.
    """
    account = SERVICE_ACCOUNTS.ref(namespace, name)
    tokens = _IssuedToken(login, account, clock)
    try:
        await tokens.obtain()
    except Forbidden:
        impersonating = replace(login, credentials=_Impersonation(login.credentials, account))
        await _check(impersonating, account)
        return impersonating
    return login.as_bearer(tokens)


def username(account: Ref) -> str:
    """Give the name under which the cluster knows a ServiceAccount."""
    return f"system:serviceaccount:{account.namespace}:{account.name}"


async def _check(login: Login, account: Ref) -> None:
    async with Client(login, user_agent=USER_AGENT) as client:
        identity = await client.whoami()
    if identity.username != username(account):
        raise LoginFailed(f"impersonating {account}, the cluster took us for {identity.username!r}")


@dataclass(frozen=True, slots=True)
class _Token:
    headers: Headers = field(repr=False)
    renew_at: float
    expires_at: float


class _IssuedToken:
    """A token of the account, asked for with our own identity and renewed in time."""

    def __init__(self, login: Login, account: Ref, clock: Clock) -> None:
        self._login = login
        self._account = account
        self._clock = clock
        self._token: _Token | None = None
        self._lock = asyncio.Lock()

    async def headers(self) -> Headers:
        async with self._lock:
            now = self._clock()
            if self._token is not None and now < self._token.renew_at:
                return self._token.headers
            try:
                return await self.obtain()
            except KubeError as error:
                if self._token is not None and now < self._token.expires_at:
                    return self._token.headers
                raise LoginFailed(f"no token for {self._account}: {error}") from error

    def refused(self) -> None:
        self._token = None

    async def obtain(self) -> Headers:
        """Ask for a token; its life is counted on our clock from before the asking, so never overrated."""
        now = self._clock()
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_SECONDS},
        }
        async with Client(self._login, user_agent=USER_AGENT) as client:
            answer = await client.create_subresource(self._account, "token", body)
        life = answer["spec"]["expirationSeconds"]  # what was granted, which may be less than asked for
        headers = [("Authorization", f"Bearer {answer['status']['token']}")]
        self._token = _Token(headers, now + RENEW_AT * life, now + life)
        return headers


class _Impersonation:
    """Our own identity, asking to be taken for the account."""

    def __init__(self, own: Credentials, account: Ref) -> None:
        self._own = own
        self._as = [
            ("Impersonate-User", username(account)),
            ("Impersonate-Group", "system:serviceaccounts"),
            ("Impersonate-Group", f"system:serviceaccounts:{account.namespace}"),
            ("Impersonate-Group", "system:authenticated"),
        ]

    async def headers(self) -> Headers:
        return [*await self._own.headers(), *self._as]

    def refused(self) -> None:
        self._own.refused()
