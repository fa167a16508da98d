"""What an HTTPRoute could not be made to say, refused where it is asked for rather than in a release.

Only what can be told from the Rollout alone; what depends on the route is judged when a release begins
(``rollout.release.routes.http_route``).
"""

import re
from collections.abc import Iterator

from rollout.problems import Problem
from rollout.spec import PathMatch, PathMatchType, RolloutSpec

# As the CRD of HTTPRoute v1 has it (HTTPPathMatch): what it refuses would stop a release at its step.
_PATH = re.compile(r"/(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*")
_NEVER = ("//", "/./", "/../", "%2f", "%2F")
_ENDINGS = ("/..", "/.")
_LONGEST = 1024


def gateway_problems(spec: RolloutSpec, steps: str) -> Iterator[Problem]:
    """Find paths that no HTTPRoute can have; ``steps`` is the path of the steps."""
    if not any(routing.http_route for routing in spec.routings):
        return
    for index, step in enumerate(spec.steps):
        for number, match in enumerate(step.matches):
            if match.path and not _sayable(match.path):
                yield Problem(
                    f"{steps}[{index}].Matches[{number}].Path",
                    match.path.value,
                    f"an HTTPRoute cannot match this path by type {match.path.type.value}",
                    "Begin it with /, leave out //, /./, /../, %2F and #, and end it with neither /. nor /..",
                )


def _sayable(path: PathMatch) -> bool:
    if len(path.value) > _LONGEST:
        return False
    if path.type is PathMatchType.REGULAR_EXPRESSION:
        return True
    return (
        _PATH.fullmatch(path.value) is not None
        and not any(part in path.value for part in _NEVER)
        and not path.value.endswith(_ENDINGS)
    )
