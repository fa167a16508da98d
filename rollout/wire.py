"""The shape of Kubernetes JSON inside the pure core."""

from collections.abc import Mapping
from typing import Any

JsonObject = Mapping[str, Any]
"""A decoded Kubernetes object or a part of one. Treated as immutable: build a new one to change it."""
