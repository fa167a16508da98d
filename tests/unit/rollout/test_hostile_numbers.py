"""Numbers in annotations that anybody may write: larger than any of ours, and none of them ends a process."""

import json

import pytest

from rollout import names
from rollout.fields import natural
from rollout.observation import read_replica_set
from rollout.revision import steps_counted
from rollout.traffic import custom
from rollout.wire import JsonObject

_DIGITS = "9" * 5000  # more than Python turns into an integer
_RECORD = {
    "weight": 20,
    "matches": [],
    "requestHeaderModifier": None,
    "digest": "abcde",
    "generation": 3,
    "mark": "web",
}


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("20", 20), ("", None), ("-1", None), ("1.5", None), ("\u0664", None), (_DIGITS, None)],
)
def test_whole_number_is_read_from_a_text(text: str, number: int | None) -> None:
    """Digits of ASCII alone, and no more than a number of ours can have."""
    assert natural(text) == number


def test_plan_that_counts_endlessly_many_steps_counts_none() -> None:
    """Whoever writes the status may write any digest there."""
    assert steps_counted(f"abcde-{_DIGITS}") == 0


def test_replica_set_that_was_scaled_for_endlessly_many_pods_is_taken_as_never_scaled() -> None:
    """Whoever may annotate it may write anything there."""
    annotations = {names.DESIRED_REPLICAS: _DIGITS, names.MAX_REPLICAS: _DIGITS}
    metadata = {
        "name": "web-1",
        "namespace": "shop",
        "uid": "1",
        "resourceVersion": "1",
        "labels": {names.POD_TEMPLATE_HASH: "1"},
        "annotations": annotations,
    }
    spec: JsonObject = {"replicas": 1, "template": {"metadata": {}, "spec": {"containers": []}}}

    read = read_replica_set({"metadata": metadata, "spec": spec})

    assert read.scaled_for == (None, None)


@pytest.mark.parametrize("key", ["weight", "generation"])
def test_record_with_an_endless_number_is_none(key: str) -> None:
    """1e999 is a number in JSON, and no integer."""
    written = json.dumps({**_RECORD, key: 7}).replace("7", "1e999")
    manifest = {"metadata": {"annotations": {names.ROUTING: written}}}

    assert custom.record_of({"metadata": {"annotations": {names.ROUTING: json.dumps(_RECORD)}}}) is not None
    assert custom.record_of(manifest) is None
