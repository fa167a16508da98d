"""Settings: precedence, types, and messages that let a stranger fix a wrong one."""

import dataclasses

import pytest

from runtime.process import EXIT_SETTINGS, load_or_exit
from runtime.settings import ProcessSettings, SettingsError, boolean, load, seconds, setting, text


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ExampleSettings(ProcessSettings):
    """An example process."""

    service_name: str = setting(env="SERVICE_NAME", text="name of the Service", parse=text)
    strict: bool = setting(env="STRICT", text="refuse what is doubtful", parse=boolean, default=False)
    pause: float = setting(env="PAUSE", text="seconds to pause", parse=seconds(60), default=1.5)


def example(*arguments: str, **environment: str) -> ExampleSettings:
    """Load with the required setting given."""
    return load(ExampleSettings, ["--service-name=x", *arguments], environment, "example")


def test_defaults_hold_where_nothing_is_said() -> None:
    """A process without flags and environment has the documented defaults."""
    settings = example()

    assert (settings.namespace, settings.http_port) == ("kruise-rollout", 8080)
    assert (settings.strict, settings.pause) == (False, 1.5)


def test_environment_wins_over_default_and_flag_wins_over_environment() -> None:
    """Precedence is flag, environment, default."""
    assert example(HTTP_PORT="9000").http_port == 9000
    assert example("--http-port=9001", HTTP_PORT="9000").http_port == 9001


def test_empty_environment_variable_counts_as_not_set() -> None:
    """A template that renders an empty value leaves the default in place."""
    assert example(HTTP_PORT="").http_port == 8080


@pytest.mark.parametrize(
    ("word", "expected"), [("true", True), ("False", False), ("1", True), ("off", False)]
)
def test_switch_reads_the_usual_words(word: str, expected: bool) -> None:  # noqa: FBT001 - a test's table
    """A switch is written as other Kubernetes processes accept it."""
    assert example(f"--strict={word}").strict is expected


def test_every_wrong_setting_is_reported_at_once() -> None:
    """One start tells of all mistakes, each with what, where from, found and remedy."""
    with pytest.raises(SettingsError) as raised:
        load(ExampleSettings, ["--http-port=many"], {"PAUSE": "nan", "LOG_LEVEL": "loud"}, "example")

    level, port, service, pause = sorted(raised.value.problems, key=lambda line: line.split(": ")[1])[:4]
    assert sorted([level, port, service, pause]) == sorted(raised.value.problems)
    assert (
        "flag --http-port: found 'many'; must be a whole number from 0 to 65535; set --http-port or the "
        "environment variable HTTP_PORT (plain HTTP port of /healthz, /readyz and /metrics)"
    ) in raised.value.problems
    assert (
        "--service-name: not set; set --service-name or the environment variable SERVICE_NAME "
        "(name of the Service)"
    ) in raised.value.problems
    assert any(
        problem.startswith("environment variable PAUSE: found 'nan'") for problem in raised.value.problems
    )
    assert any("must be one of debug, info, warning, error" in problem for problem in raised.value.problems)


@pytest.mark.parametrize("value", ["70000", "-1", "80.5", ""])
def test_port_out_of_range_is_refused(value: str) -> None:
    """A port that cannot be listened on is found at start, not at bind."""
    with pytest.raises(SettingsError, match="must be a whole number from 0 to 65535"):
        example(f"--http-port={value}")


@pytest.mark.parametrize("flag", ["--htp-port=1", "--http=1", "stray"])
def test_unknown_or_abbreviated_flags_are_refused_by_name(flag: str) -> None:
    """A misspelt flag is an error that names it; prefixes are not guessed at."""
    with pytest.raises(SettingsError, match=flag):
        example(flag)


def test_help_names_flag_environment_default_and_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` is the reference of the settings."""
    with pytest.raises(SystemExit) as raised:
        load(ExampleSettings, ["--help"], {}, "example")

    said = " ".join(capsys.readouterr().out.split())
    assert raised.value.code == 0
    assert "An example process." in said
    assert "--http-port VALUE plain HTTP port of /healthz, /readyz and /metrics" in said
    assert "(environment: HTTP_PORT; default: 8080)" in said
    assert "(environment: SERVICE_NAME; required)" in said


def test_wrong_settings_end_the_process_with_the_problems_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A process that cannot start says why, without a traceback."""
    with pytest.raises(SystemExit) as raised:
        load_or_exit(ExampleSettings, "example", [], {})

    assert raised.value.code == EXIT_SETTINGS
    assert capsys.readouterr().err.startswith("example: --service-name: not set; set --service-name")
