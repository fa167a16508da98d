"""How events are named and kept within limits."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kube.events import LONGEST_NOTE_BYTES, Event, Regarding, shortened

ROLLOUT = Regarding("rollouts.kruise.io/v1beta1", "Rollout", "shop", "web", "uid-1")
PAUSED = Event(ROLLOUT, "Normal", "StepPaused", "Release", "step 1 waits for approval", key="abcde/1")


def test_same_words_have_the_same_name() -> None:
    """A restarted process tells nothing twice."""
    assert replace(PAUSED).name == PAUSED.name


def test_each_difference_makes_another_event() -> None:
    """Also what reads the same but belongs to another release, or to another object of that name."""
    others = [
        replace(PAUSED, key="fghij/1"),
        replace(PAUSED, note="step 2 waits for approval"),
        replace(PAUSED, reason="StepTimer"),
        replace(PAUSED, type="Warning"),
        replace(PAUSED, regarding=replace(ROLLOUT, uid="uid-2")),
    ]

    assert len({event.name for event in [PAUSED, *others]}) == len(others) + 1


def test_name_is_of_allowed_length() -> None:
    """However long the object's own name is."""
    event = replace(PAUSED, regarding=replace(ROLLOUT, name="a" * 253))

    assert len(event.name) == 253


@given(st.text(max_size=1500))
def test_note_fits_and_begins_as_it_was(note: str) -> None:
    """Cut between characters, and only when it has to be."""
    short = shortened(note)

    assert len(short.encode()) <= LONGEST_NOTE_BYTES
    if len(note.encode()) <= LONGEST_NOTE_BYTES:
        assert short == note
    else:
        assert short.endswith("…")
        assert note.startswith(short.removesuffix("…"))


def test_object_is_referred_to_in_its_incarnation() -> None:
    """The uid ties an event to this object, not to its successor of the same name."""
    metadata = {"name": "web", "namespace": "shop", "uid": "uid-1"}
    manifest = {"apiVersion": "rollouts.kruise.io/v1beta1", "kind": "Rollout", "metadata": metadata}

    assert Regarding.of(manifest) == ROLLOUT
    assert ROLLOUT.to_json()["uid"] == "uid-1"
