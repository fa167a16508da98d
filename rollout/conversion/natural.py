"""The natural conversion of each piece, and what a stash may add to it.

Total functions over the members of one piece, in both directions; what they cannot say they leave
out. They know nothing of where a piece is, nor of stashes.
"""

from collections.abc import Mapping
from typing import Any

from rollout import names
from rollout.fields import is_integer, percentage, whole

Content = dict[str, Any]

ENABLE = "enableExtraWorkloadForCanary"
REF = "trafficRoutingRef"
_PARTITION = "partition"  # the annotation's value, in any letter case; all others mean canary


def nothing(_: Mapping[str, Any]) -> Content:
    """Convert what the other version has no word for."""
    return {}


def workload_to_beta(content: Mapping[str, Any]) -> Content:
    """Take the reference out of objectRef."""
    ref = content.get("objectRef")
    return {"workloadRef": ref["workloadRef"]} if isinstance(ref, Mapping) and "workloadRef" in ref else {}


def workload_to_alpha(content: Mapping[str, Any]) -> Content:
    """Put the reference into objectRef."""
    return {"objectRef": {"workloadRef": content["workloadRef"]}} if "workloadRef" in content else {}


def style_to_beta(content: Mapping[str, Any]) -> Content:
    """Say canary by the extra workload, which v1beta1 does not mean by default."""
    annotation = _only(content, names.ROLLING_STYLE)
    return annotation if _means_partition(content) else annotation | {ENABLE: True}


def style_to_alpha(content: Mapping[str, Any]) -> Content:
    """Keep an annotation that says the same; canary, the default of v1alpha1, needs none."""
    partition = content.get(ENABLE) is not True
    if _means_partition(content) == partition:
        return _only(content, names.ROLLING_STYLE)
    return {names.ROLLING_STYLE: _PARTITION} if partition else {}


def _means_partition(content: Mapping[str, Any]) -> bool:
    value = content.get(names.ROLLING_STYLE)
    return isinstance(value, str) and value.lower() == _PARTITION


def routing_ref_to_beta(content: Mapping[str, Any]) -> Content:
    """Give the annotation's name in the field too."""
    annotation = _only(content, names.TRAFFIC_ROUTING)
    value = content.get(names.TRAFFIC_ROUTING)
    return annotation | ({REF: value} if isinstance(value, str) and value else {})


def routing_ref_to_alpha(content: Mapping[str, Any]) -> Content:
    """Give the field's name in the annotation, where v1alpha1 looks."""
    value = content.get(REF)
    if isinstance(value, str) and value:
        return {names.TRAFFIC_ROUTING: value}
    return _only(content, names.TRAFFIC_ROUTING)


def step_to_beta(content: Mapping[str, Any]) -> Content:
    """Weight becomes traffic, and the number of pods too where none is given."""
    step = {key: value for key, value in content.items() if key not in ("weight", "traffic")}
    weight = whole(content.get("weight"))
    if weight is None:
        return step
    step["traffic"] = f"{weight}%"
    if step.get("replicas") is None:
        step["replicas"] = f"{weight}%"
    return step


def step_to_alpha(content: Mapping[str, Any]) -> Content:
    """Traffic becomes weight; a match that v1alpha1 cannot say in full is not shown.

    Shown in part (headers without the path), it would match more requests once written back.
    """
    step = {key: value for key, value in content.items() if key not in ("weight", "traffic", "matches")}
    weight = percentage(content.get("traffic"))
    matches = content.get("matches")
    shown = [each for each in matches if _is_of_headers(each)] if isinstance(matches, list) else matches
    if weight is not None:
        step["weight"] = weight
    if shown or ("matches" in content and shown == matches):
        step["matches"] = shown
    return step


def _is_of_headers(match: object) -> bool:
    return not (isinstance(match, Mapping) and ("path" in match or "queryParams" in match))


def routing_without_type(content: Mapping[str, Any]) -> Content:
    """Leave out the type, which older manifests carry."""
    return {key: value for key, value in content.items() if key != "type"}


def _only(content: Mapping[str, Any], key: str) -> Content:
    return {key: content[key]} if key in content else {}


# --- what may be remembered of them --------------------------------------------------------------


def is_text(value: object) -> bool:
    """Tell whether a value is a string."""
    return isinstance(value, str)


def is_flag(value: object) -> bool:
    """Tell whether a value is a boolean."""
    return isinstance(value, bool)


def is_number(value: object) -> bool:
    """Tell whether a value is a number."""
    return is_integer(value) or isinstance(value, float)


def is_int_or_text(value: object) -> bool:
    """Tell whether a value is an integer or a string."""
    return is_integer(value) or isinstance(value, str)


def is_mapping(value: object) -> bool:
    """Tell whether a value is an object."""
    return isinstance(value, Mapping)


def is_list_of_mappings(value: object) -> bool:
    """Tell whether a value is a list of objects."""
    return isinstance(value, list) and all(isinstance(each, Mapping) for each in value)


def is_object_ref(value: object) -> bool:
    """Tell whether this is a reference (compared with the present one besides), with or without a type."""
    return isinstance(value, Mapping) and all(
        key == "workloadRef" or (key == "type" and isinstance(each, str)) for key, each in value.items()
    )
