"""Whose fields are whose, for server-side apply."""

import pytest

from kube.managed_fields import disowned, owns_spec
from kube.wire import JsonObject

_MARKS = {"manager": "sluice", "operation": "Update", "fieldsV1": {"f:metadata": {"f:annotations": {}}}}
_RULES = {"manager": "sluice", "operation": "Update", "fieldsV1": {"f:spec": {"f:rules": {}}}}
_STATUS = {**_RULES, "subresource": "status"}
_OWNER = {"manager": "gitops", "operation": "Apply", "fieldsV1": {"f:spec": {"f:rules": {}}}}


def found(*entries: JsonObject) -> JsonObject:
    """Return an object with these entries."""
    return {"metadata": {"name": "web", "uid": "u", "resourceVersion": "7", "managedFields": list(entries)}}


@pytest.mark.parametrize(
    ("entries", "owns"),
    [
        ([_RULES, _OWNER], True),
        ([_MARKS, _OWNER], False),
        ([_STATUS], False),
        ([{**_OWNER, "manager": "sluice"}], False),
        ([], False),
    ],
    ids=["rules", "marks", "status", "applied under our name", "nothing"],
)
def test_only_what_a_manager_has_written_into_a_spec_can_conflict(
    entries: list[JsonObject], *, owns: bool
) -> None:
    """Marks of ours are on no owner's list, and a status is applied by nobody."""
    assert owns_spec(found(*entries), "sluice") is owns


def test_what_others_own_stays_theirs() -> None:
    """The write is bound to the object as it was seen: nobody's entry is lost by it."""
    patch = disowned(found(_OWNER, _RULES, _STATUS), "sluice")["metadata"]

    assert patch == {"uid": "u", "resourceVersion": "7", "managedFields": [_OWNER, _STATUS]}


def test_nothing_at_all_is_said_by_an_empty_entry() -> None:
    """An empty list leaves everything as it is (managedFields of the API's documentation)."""
    assert disowned(found(_RULES), "sluice")["metadata"]["managedFields"] == [{}]
