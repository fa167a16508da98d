"""How many examples a test draws: few where each is dear, all that was asked for in the long profile."""

import os

from hypothesis import settings

LONG = os.environ.get("SLUICE_HYPOTHESIS") == "long"


def examples_of_a_long_search(unless_told: int = 2000) -> int:
    """Return what ``SLUICE_HYPOTHESIS_EXAMPLES`` says."""
    return int(os.environ.get("SLUICE_HYPOTHESIS_EXAMPLES", unless_told))


def dear(examples: int, *, long: int = 2000) -> settings:
    """Draw so many examples on every run, and in a long one as many as it was told, or else ``long``."""
    return settings(max_examples=examples_of_a_long_search(long) if LONG else examples)
