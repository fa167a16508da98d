"""The demo reads kubectl's tables as a person does, and names what differs."""

from sandbox.demo.tables import Row, differences, parse

_TEXT = """\
NAME         STATUS        CANARY_STEP   CANARY_STATE   MESSAGE                                    AGE
echoserver   Progressing   1             StepPaused     Rollout is in step(1/1), and you wait   93m
other                                                                                              2s
"""
_ROLLOUTS = """\
NAME         STATUS    MESSAGE     AGE
echoserver   Healthy   all is so   1s
"""


def test_cells_are_read_by_column() -> None:
    """A cell holds what stands under its header, blanks inside it included; AGE is not found in MESSAGE."""
    table = parse(_ROLLOUTS)

    assert table.columns == ("NAME", "STATUS", "MESSAGE", "AGE")
    assert table.rows["echoserver"] == {
        "NAME": "echoserver",
        "STATUS": "Healthy",
        "MESSAGE": "all is so",
        "AGE": "1s",
    }


def test_empty_cells_stay_empty() -> None:
    """A row without values has empty cells, not its neighbours'."""
    assert parse(_TEXT).rows["other"]["STATUS"] == ""


def test_nothing_to_show_is_an_empty_table() -> None:
    """Kubectl prints no header when there is nothing."""
    assert parse("").names == ()


def test_table_as_expected_has_no_differences() -> None:
    """Only the named cells are compared; ignored rows may be there."""
    rows = [Row("echo.*", {"STATUS": "Progressing"})]

    assert list(differences(parse(_TEXT), rows, ignored=["other"])) == []


def test_each_difference_is_named() -> None:
    """A wrong cell, a missing row and one too many are told one by one."""
    rows = [Row("echoserver", {"STATUS": "Healthy"}), Row("echoserver-[a-z]{5}", {})]

    assert list(differences(parse(_TEXT), rows)) == [
        "echoserver: STATUS is 'Progressing' instead of 'Healthy'",
        "there is no row echoserver-[a-z]{5}",
        "other should not be there",
    ]
