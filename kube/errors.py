"""How a request to the cluster can fail, and what each failure says about trying again.

    KubeError
    ├── NotFound            404  it is not there
    ├── AlreadyExists       409  a create met an object of that name
    ├── Conflict            409  a resourceVersion or uid precondition did not hold
    ├── Expired             410  the resourceVersion or list page is too old to continue from
    ├── Unauthorized        401  the cluster does not know us
    ├── Forbidden           403  it does, and says no (RBAC, quota, an admission webhook)
    ├── Invalid             422  the object breaks its schema or a validation rule
    ├── BadRequest          4xx  any other refusal of the request as such
    ├── TooManyRequests     429  throttled, or an eviction that has to wait
    ├── ServerError         5xx  the API server, etcd or a webhook failed
    │   └── Unavailable     503  not now
    ├── ConnectionFailed         no answer at all
    │   └── TimedOut             no answer in time
    └── LoginFailed              credentials could not be loaded or renewed

The class decides how the caller goes on (`retry`); nothing in this package retries by itself. Refuses to know
what was attempted and why. Messages come from the server's Status object or from the transport, never from
request headers, so no credential can get into a log.
"""

# ruff: noqa: N818  these are the names the API itself gives to its refusals; "Error" behind each adds nothing

import enum
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from kube.wire import Status, StatusDetails

# A server may name any delay; none of ours may stand still for longer than this without looking again.
LONGEST_RETRY_AFTER = 60.0
# Bodies of proxies' error pages land in logs: enough to recognise the page.
LONGEST_FOREIGN_MESSAGE = 200


class Retry(enum.Enum):
    """What has to happen before the same intent can be tried again."""

    AFTER_OBSERVING = "after observing"  # at once, on fresh observations: the world moved
    BACKOFF = "backoff"  # the same request, later and later
    AFTER = "after"  # the same request, once `retry_after` seconds have passed
    WHEN_CHANGED = "when changed"  # only once the object, the rights or the cluster are different


class KubeError(Exception):
    """A request to the cluster failed; `code` is 0 when there was no answer."""

    retry: ClassVar[Retry] = Retry.BACKOFF

    def __init__(
        self,
        message: str,
        *,
        code: int = 0,
        reason: str = "",
        details: StatusDetails | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.details = details or StatusDetails()
        self.retry_after = retry_after

    @property
    def outcome_unknown(self) -> bool:
        """Whether a write may have been done in spite of the failure: observe before doing it again."""
        return False

    def has_cause(self, cause: str) -> bool:
        """Tell whether the server named `cause` (a `details.causes[].reason`) for its refusal."""
        return any(found.reason == cause for found in self.details.causes)

    def __str__(self) -> str:
        return f"{self.message} ({self.code} {self.reason or type(self).__name__})"


class NotFound(KubeError):
    """The object, its namespace, or the whole kind is not there."""

    retry = Retry.AFTER_OBSERVING


class AlreadyExists(KubeError):
    """A create met an object of the same name."""

    retry = Retry.AFTER_OBSERVING


class Conflict(KubeError):
    """The object is no longer what the writer had seen."""

    retry = Retry.AFTER_OBSERVING


class Expired(KubeError):
    """The history asked for is compacted: list again."""

    retry = Retry.AFTER_OBSERVING


class Unauthorized(KubeError):
    """The credentials are not accepted; renewed ones may be."""

    retry = Retry.BACKOFF


class Forbidden(KubeError):
    """The identity is known and lacks the right, or admission refused."""

    retry = Retry.WHEN_CHANGED


class Invalid(KubeError):
    """The object breaks a rule of its kind."""

    retry = Retry.WHEN_CHANGED


class BadRequest(KubeError):
    """The request as such is wrong; sending it again cannot help."""

    retry = Retry.WHEN_CHANGED


class TooManyRequests(KubeError):
    """The server asks for patience and `retry_after` says for how much."""

    retry = Retry.AFTER


class ServerError(KubeError):
    """The server failed; a write may have been done all the same."""

    retry = Retry.BACKOFF

    @property
    def outcome_unknown(self) -> bool:
        """A 500 from a webhook means not done, a timeout in etcd may mean done: nobody can tell."""
        return True


class Unavailable(ServerError):
    """The server is starting, stopping or overloaded."""


class ConnectionFailed(KubeError):
    """There was no answer: refused, reset, cut, or not of this protocol."""

    retry = Retry.BACKOFF

    @property
    def outcome_unknown(self) -> bool:
        """The request may have arrived though the answer did not."""
        return True


class TimedOut(ConnectionFailed):
    """No answer in time."""


class LoginFailed(KubeError):
    """Credentials could not be loaded or renewed."""

    retry = Retry.BACKOFF


_BY_CODE: Mapping[int, type[KubeError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    422: Invalid,
    429: TooManyRequests,
    503: Unavailable,
}
# The reasons that say more than their code: 409 is shared, and watches deliver reasons with odd codes.
_BY_REASON: Mapping[str, type[KubeError]] = {
    "AlreadyExists": AlreadyExists,
    "Conflict": Conflict,
    "Expired": Expired,
    "Gone": Expired,
    "NotFound": NotFound,
}
_SERVER_ERRORS = 500


def from_answer(code: int, body: bytes, retry_after_header: str | None = None) -> KubeError:
    """Turn an answer that is not a success into the error it stands for; any body is survived."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        text = body[:LONGEST_FOREIGN_MESSAGE].decode("utf-8", "replace").strip()
        status = Status(message=text or "the answer has no body", code=code)
    return from_status(msgspec.structs.replace(status, code=code), retry_after_header)


def from_status(status: Status, retry_after_header: str | None = None) -> KubeError:
    """Turn a Status object (the body of a failed request, or a watch's ERROR event) into an error."""
    code = status.code or 0
    reason = status.reason or ""
    details = status.details or StatusDetails()
    seconds = _seconds(retry_after_header, details)
    cls = _BY_REASON.get(reason) or _BY_CODE.get(code) or _by_range(code)
    if cls is TooManyRequests and seconds is None:
        seconds = 1.0  # the least the API server itself ever asks for
    return cls(
        status.message or reason or "the server gave no message",
        code=code,
        reason=reason,
        details=details,
        retry_after=seconds,
    )


def _by_range(code: int) -> type[KubeError]:
    return BadRequest if 0 < code < _SERVER_ERRORS else ServerError


def _seconds(header: str | None, details: StatusDetails) -> float | None:
    """Read the delay asked for; the header wins, as proxies set only it. A date in it is not understood."""
    if header is not None and header.strip().isdecimal():
        return min(float(header), LONGEST_RETRY_AFTER)
    if details.retry_after_seconds:
        return min(float(details.retry_after_seconds), LONGEST_RETRY_AFTER)
    return None


def from_transport(error: Exception, method: str, path: str) -> ConnectionFailed:
    """Name a failure below HTTP. Of the request only what holds no secret is told."""
    text = f"{method} {path}: {type(error).__name__}: {error}".rstrip(": ")
    return TimedOut(text) if isinstance(error, TimeoutError) else ConnectionFailed(text)
