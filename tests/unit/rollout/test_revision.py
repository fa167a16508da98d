"""What makes two templates one revision, and two releases different."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rollout.revision import release_id, same_template, steps_digest, template_digest
from rollout.spec import Amount, Step
from tests.unit.rollout.model.objects import template

templates = st.fixed_dictionaries(
    {
        "metadata": st.dictionaries(
            st.sampled_from(["labels", "annotations"]),
            st.dictionaries(
                st.sampled_from(["app", "note", "pod-template-hash"]), st.sampled_from(["a", "b"])
            ),
        ),
        "spec": st.dictionaries(st.sampled_from(["x", "y"]), st.none() | st.integers(0, 1)),
    }
)


@given(templates, templates)
def test_digest_is_equal_exactly_for_one_revision(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Comparing digests and comparing templates never disagree."""
    assert (template_digest(one) == template_digest(other)) is same_template(one, other)


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"labels": {"app": "web", "pod-template-hash": "x"}}, id="the controller's label"),
        pytest.param({"labels": {"app": "web"}, "creationTimestamp": None}, id="an empty time"),
        pytest.param({"labels": {"app": "web"}, "annotations": {}}, id="no annotations"),
    ],
)
def test_what_the_cluster_adds_makes_no_revision(metadata: dict[str, Any]) -> None:
    """A ReplicaSet's copy of a template is the same revision."""
    assert same_template({**template("v1"), "metadata": metadata}, template("v1"))


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"containers": [{"name": "web", "image": "web:v2"}]}},
        {"metadata": {"labels": {"app": "web", "lane": "a"}}},
        {"metadata": {"labels": {"app": "web"}, "annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}},
    ],
)
def test_what_a_user_changes_makes_a_revision(change: dict[str, Any]) -> None:
    """Any other difference starts pods anew, so it is a revision of its own."""
    assert template_digest({**template("v1"), **change}) != template_digest(template("v1"))


def test_release_of_the_same_template_again_has_another_id() -> None:
    """Neither an approval nor a canary's name of the first can meet the second."""
    first = release_id("uid", "web", "d", 7)
    others = {
        release_id("uid", "web", "d", 9),
        release_id("other", "web", "d", 7),
        release_id("uid", "web created again", "d", 7),
        release_id("uid", "web", "e", 7),
    }

    assert len(others | {first}) == 5
    assert all(len(each) == 5 and each.isalnum() and each.islower() for each in (first, *others))
    assert first == release_id("uid", "web", "d", 7)


def test_pause_is_no_part_of_the_plan() -> None:
    """Editing how long a step waits changes no step; editing its pods does."""
    step = Step(Amount(20, percent=True), weight=20)
    waiting = Step(Amount(20, percent=True), weight=20, pause_seconds=60)
    larger = Step(Amount(30, percent=True), weight=20)

    assert steps_digest((step,)) == steps_digest((waiting,))
    assert steps_digest((step,)) != steps_digest((larger,))
