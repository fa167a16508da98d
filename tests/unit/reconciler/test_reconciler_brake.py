"""Writing pass after pass is slowed down, and only that."""

from kube.wire import Key
from reconciler.brake import Brake

KEY, OTHER = Key("shop", "web"), Key("shop", "other")


def _write(brake: Brake, passes: int, now: float = 100.0) -> list[int]:
    return [number for number in range(1, passes + 1) if brake.wrote(KEY, now)]


def test_release_of_ordinary_length_is_not_slowed() -> None:
    """A release writes some twenty times."""
    brake = Brake()

    assert _write(brake, 25) == []
    assert brake.remaining(KEY, 100.0) == 0


def test_endless_writing_is_slowed_and_told_once() -> None:
    """Whoever undoes our writes is outwaited, and people hear of it."""
    brake = Brake()

    assert _write(brake, 60) == [40]
    assert brake.remaining(KEY, 100.0) == 1.0
    assert brake.remaining(KEY, 101.0) == 0
    assert brake.remaining(OTHER, 100.0) == 0


def test_a_pass_without_writes_ends_it() -> None:
    """Peace is believed at once."""
    brake = Brake()
    _write(brake, 60)

    brake.rested(KEY)

    assert brake.remaining(KEY, 100.0) == 0
    assert _write(brake, 25) == []
