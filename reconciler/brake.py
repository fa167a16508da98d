"""A limit on writes that lead nowhere.

A release writes some twenty times and rests in between. Whoever writes pass after pass is at odds with
somebody (a policy engine, another controller, a person's loop): going on at full speed would only load
the API server and keep every timer from ending.
"""

from dataclasses import dataclass, field

from kube.wire import Key

# Twice what a whole release writes if nothing made it wait.
_PASSES = 40
_PAUSE_SECONDS = 1.0


@dataclass
class Brake:
    """Counts, for each Rollout, passes in a row that wrote something."""

    _passes: dict[Key, int] = field(default_factory=dict)
    _free_at: dict[Key, float] = field(default_factory=dict)

    def wrote(self, key: Key, now: float) -> bool:
        """Take note of a pass that wrote; tells whether it is the one from which on passes are slowed."""
        self._passes[key] = passes = self._passes.get(key, 0) + 1
        if passes >= _PASSES:
            self._free_at[key] = now + _PAUSE_SECONDS
        return passes == _PASSES

    def rested(self, key: Key) -> None:
        """Take note of a pass that had nothing to write."""
        self._passes.pop(key, None)
        self._free_at.pop(key, None)

    def remaining(self, key: Key, now: float) -> float:
        """Give the seconds until the next pass may be made."""
        return max(0.0, self._free_at.get(key, 0.0) - now)
