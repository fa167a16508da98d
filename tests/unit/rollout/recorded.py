"""What KubeVela and kubectl-kruise wrote to Rollouts in the reference scenario (from an audit log)."""

import json
from pathlib import Path
from typing import Any

_WRITES = Path(__file__).with_name("recorded_writes.jsonl")


def writes() -> list[dict[str, Any]]:
    """Return every distinct write: ``during``, ``client``, ``verb``, ``uri`` and ``body``."""
    return [json.loads(line) for line in _WRITES.read_text().splitlines()]


def whole_objects() -> list[dict[str, Any]]:
    """Return the bodies that are whole objects."""
    return [each["body"] for each in writes() if each["verb"] in {"create", "update"}]


def status_puts() -> list[dict[str, Any]]:
    """Return the bodies of the writes to ``/status`` that are whole objects."""
    return [each["body"] for each in writes() if each["verb"] == "update" and each["uri"].endswith("/status")]
