"""The published list of behaviours."""

from tests import behaviour


def test_list_of_behaviours_is_what_the_tests_say() -> None:
    """Whoever adds a scenario writes the list anew: python -m tests.behaviour."""
    assert behaviour.LIST.read_text(encoding="utf-8") == behaviour.render()
