"""Label selectors, as the API server evaluates them (API reference, LabelSelector)."""

from collections.abc import Mapping

from rollout.wire import JsonObject


def selects(selector: JsonObject, labels: Mapping[str, str]) -> bool:
    """Tell whether a selector matches labels; an empty one matches all."""
    wanted: Mapping[str, str] = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or ()
    return wanted.items() <= labels.items() and all(_holds(each, labels) for each in expressions)


def _holds(expression: JsonObject, labels: Mapping[str, str]) -> bool:
    found = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return found in expression["values"]
        case "NotIn":
            return found not in expression["values"]
        case "Exists":
            return found is not None
        case _:  # DoesNotExist, the only other one that the API knows
            return found is None
