"""How much hypothesis searches: the same examples on every run, more of them when asked for.

``SLUICE_HYPOTHESIS=long`` searches at random and for long; ``SLUICE_HYPOTHESIS_EXAMPLES`` says how much.
"""

import os

from hypothesis import HealthCheck, settings

from tests.unit.search import examples_of_a_long_search

settings.register_profile(
    "short",
    max_examples=50,
    derandomize=True,
    database=None,
    print_blob=True,
    deadline=None,
    stateful_step_count=30,
)
settings.register_profile(
    "long",
    max_examples=examples_of_a_long_search(),
    stateful_step_count=80,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile(os.environ.get("SLUICE_HYPOTHESIS", "short"))
