"""What a projection keeps."""

import json

from hypothesis import given
from hypothesis import strategies as st

from kube.cache import Cache
from kube.projection import IDENTITY, keep
from kube.resources import PODS

POD = {
    "metadata": {"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "1", "managedFields": [{}]},
    "spec": {"nodeName": "n", "containers": [{"name": "main", "image": "x"}, {"name": "side", "image": "y"}]},
    "status": {"phase": "Running", "hostIP": "10.0.0.1"},
}


def test_only_what_is_named_is_kept() -> None:
    """In the API's own shape, also within lists; kind and version are always told."""
    tree = {"metadata": IDENTITY, "spec": {"containers": {"image": None}}, "status": {"phase": None}}

    assert keep(PODS, tree)(json.dumps(POD).encode()) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "1"},
        "spec": {"containers": [{"image": "x"}, {"image": "y"}]},
        "status": {"phase": "Running"},
    }


def test_absent_fields_stay_absent() -> None:
    """A projection invents nothing: absent, null and empty remain what they are."""
    decode = keep(PODS, {"spec": {"nodeName": None}, "status": {"phase": None, "reason": None}})

    assert decode(b'{"spec":{},"status":{"phase":null}}') == {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {},
        "status": {"phase": None},
    }


def test_equal_strings_are_one_object() -> None:
    """A label value of a thousand pods is in memory once."""
    decode = keep(PODS, {"metadata": {"labels": None}})
    first, second = (decode(b'{"metadata":{"labels":{"app":"the web shop"}}}') for _ in range(2))

    assert first["metadata"]["labels"]["app"] is second["metadata"]["labels"]["app"]


def test_cache_holds_projections() -> None:
    """Key, uid and version are read beside it, so the projection need not keep them."""
    cache = Cache(PODS, decode=keep(PODS, {"status": {"phase": None}}))
    cache.put(*cache.read(json.dumps(POD).encode()))

    assert cache.get("shop", "a") == {"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Running"}}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=5), below, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_value_kept_whole_is_unchanged(value: object) -> None:
    """Sharing strings changes nothing that can be seen."""
    decode = keep(PODS, {"spec": None})

    assert decode(json.dumps({"spec": value}).encode())["spec"] == value


@given(json_values)
def test_value_of_another_shape_than_expected_is_kept(value: object) -> None:
    """A projection never fails on an object, whatever a CRD without a schema let in."""
    keep(PODS, {"spec": {"a": {"b": None}}})(json.dumps({"spec": value}).encode())
