"""What makes two pod templates the same revision, and what makes two releases different.

Source of the comparison rule: the Deployment controller ignores a ``pod-template-hash``
label inside the template, so we do too. Our digest replaces the hash of Go structures that
OpenKruise Rollouts uses; nothing outside may depend on its value.
"""

import hashlib
from dataclasses import replace
from typing import Any

import msgspec

from rollout import names
from rollout.fields import natural
from rollout.spec import Step
from rollout.wire import JsonObject

# No vowels and no easily confused digits: a digest never spells a word (as Kubernetes does).
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_DIGEST_LENGTH = 10  # 27**10 = 2e14 values: two templates of one Deployment never meet by chance
_RELEASE_LENGTH = 5  # 27**5 = 14 million values, within the releases of one Rollout


def template_digest(template: JsonObject) -> str:
    """Name a pod template by its content: 10 characters, equal for templates that are the same revision."""
    return _encode(_canonical(template), _DIGEST_LENGTH)


def same_template(one: JsonObject, other: JsonObject) -> bool:
    """Tell whether two pod templates are one revision."""
    return bool(_comparable(one) == _comparable(other))


def release_id(rollout_uid: str, workload_uid: str, digest: str, generation: int) -> str:
    """Name one release: 5 characters.

    ``digest`` is the template's, ``generation`` the Deployment's just before the gate closed: it makes a
    second release of the same template a release of its own, so that no approval can count twice. A
    Deployment that is created again counts its generations anew, so its uid belongs to the name.
    """
    return _encode(msgspec.json.encode([rollout_uid, workload_uid, digest, generation]), _RELEASE_LENGTH)


def steps_digest(steps: tuple[Step, ...]) -> str:
    """Name a plan by its steps, without their pauses: editing a pause changes no step (contract, 1.7).

    How many there are stands at the end.
    """
    bare = [replace(step, pause_seconds=None) for step in steps]
    return f"{_encode(repr(bare).encode(), _DIGEST_LENGTH)}-{len(steps)}"


def steps_counted(digest: str) -> int:
    """Read from a plan's name how many steps it has; 0 when it says nothing of that."""
    return natural(digest.rpartition("-")[2]) or 0


def _canonical(template: JsonObject) -> bytes:
    return msgspec.json.encode(_comparable(template), order="deterministic")


def _comparable(template: JsonObject) -> Any:
    """Return the template without what does not tell revisions apart."""
    metadata = dict(template.get("metadata") or {})
    labels = {
        key: value
        for key, value in (metadata.pop("labels", None) or {}).items()
        if key != names.POD_TEMPLATE_HASH
    }
    metadata.pop("creationTimestamp", None)
    if labels:
        metadata["labels"] = labels
    if not metadata.get("annotations"):
        metadata.pop("annotations", None)
    rest = {key: value for key, value in template.items() if key != "metadata"}
    return {**rest, "metadata": metadata}


def _encode(content: bytes, length: int) -> str:
    number = int.from_bytes(hashlib.sha256(content).digest(), "big")
    characters = []
    for _ in range(length):
        number, index = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[index])
    return "".join(characters)
