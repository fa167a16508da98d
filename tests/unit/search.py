"""How many examples a test draws: few where each is dear, all that was asked for in the long profile."""

import os

from hypothesis import settings

LONG = os.environ.get("SLUICE_HYPOTHESIS") == "long"


def dear(examples: int) -> settings:
    """Draw so many examples on every run; as many as the profile says in a long one."""
    return settings() if LONG else settings(max_examples=examples)
