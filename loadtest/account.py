"""What became of every request of a load.

A request is lost when it was not answered as expected: another status, a connection that broke, no answer
in time, or an answer only after the client had sent it again by itself.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST_LIST = 1000
"""Lost requests that are kept one by one; all are counted."""

_BUCKETS_PER_DOUBLING = 8
"""Answer times are counted in buckets 9 % wide."""

_SMALLEST = 0.0001  # seconds


@dataclass(frozen=True, slots=True)
class Request:
    """One request; times are seconds of ``time.monotonic``, and it begins when it is due."""

    stream: str
    id: str
    """Sent along as X-Request-Id, by which it is found in the logs of whoever it passed."""
    began: float
    ended: float
    status: int = 0
    """0 where there was no answer."""
    revision: str = ""
    server: str = ""
    loss: str = ""
    """Why it counts as lost; empty when it was answered as expected."""


@dataclass(slots=True)
class Account:
    """Counts of requests, of which those that were lost are kept."""

    observe: Callable[[Request], None] | None = None
    """Is given each request when it has ended."""
    sent: Counter[str] = field(default_factory=Counter)
    """By stream."""
    answered: Counter[str] = field(default_factory=Counter)
    """By revision, of those that were not lost."""
    losses: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By stream and reason."""
    lost_requests: list[Request] = field(default_factory=list)
    _times: Counter[int] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """All requests that have ended."""
        return self.sent.total()

    @property
    def lost(self) -> int:
        """Those that were lost."""
        return self.losses.total()

    @property
    def reasons(self) -> Counter[str]:
        """The lost ones by reason alone."""
        found: Counter[str] = Counter()
        for (_, reason), count in self.losses.items():
            found[reason] += count
        return found

    def add(self, request: Request) -> None:
        """Take in a request that has ended."""
        self.sent[request.stream] += 1
        if request.loss:
            self.losses[request.stream, request.loss] += 1
            if len(self.lost_requests) < LONGEST_LIST:
                self.lost_requests.append(request)
        else:
            self.answered[request.revision] += 1
            self._times[_bucket(request.ended - request.began)] += 1
        if self.observe:
            self.observe(request)

    def quantile(self, share: float) -> float:
        """Return the seconds in which that share of the good answers came, to 9 %; 0 without any."""
        left = share * self._times.total()
        for bucket in sorted(self._times):
            left -= self._times[bucket]
            if left <= 0:
                return float(_SMALLEST * 2 ** (bucket / _BUCKETS_PER_DOUBLING))
        return 0.0


def _bucket(seconds: float) -> int:
    """Return the number of the first bucket that ends at or above so many seconds."""
    bucket = 0
    while _SMALLEST * 2 ** (bucket / _BUCKETS_PER_DOUBLING) < seconds:
        bucket += 1
    return bucket
