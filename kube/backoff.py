"""How long to wait before the next try. Pure: randomness comes in as a number."""

from dataclasses import dataclass

# 2**64 seconds are beyond any cap; larger exponents would only overflow.
_LARGEST_EXPONENT = 64


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from `first` up to `cap` seconds, each shortened by up to a half at random.

    The random half keeps clients that failed together from coming back together.
    """

    first: float
    cap: float

    def delay(self, failures: int, fraction: float) -> float:
        """Give the wait after so many failures in a row (1 or more); `fraction` is random in [0, 1)."""
        doubled = self.first * 2.0 ** min(failures - 1, _LARGEST_EXPONENT)
        return min(doubled, self.cap) * (0.5 + 0.5 * fraction)
