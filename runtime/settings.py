"""Settings of a process: flags that fall back to environment variables, then to defaults.

A process declares a frozen, keyword-only dataclass whose fields are made with ``setting``;
``load`` turns arguments and environment into an instance of it, or raises one
``SettingsError`` that lists every wrong setting: what, where it came from, what was found,
what to do. This module knows no setting beyond those every process has, reads no ambient
state, and never ends the process (``load_or_exit`` in ``process`` does).
"""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar, cast

_METADATA = "setting"
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})

_Value = TypeVar("_Value")
_Settings = TypeVar("_Settings")

Parse = Callable[[str], Any]
"""Turns the text of a setting into its value; raises ValueError saying what the text must be."""


class SettingsError(Exception):
    """One or more settings are wrong; ``problems`` has a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclasses.dataclass(frozen=True, slots=True)
class _Declaration:
    env: str
    help: str
    parse: Parse
    required: bool


def setting(*, env: str, text: str, parse: Callable[[str], _Value], default: _Value | None = None) -> _Value:
    """Declare a field: its flag is the field's name with dashes, ``text`` its line in ``--help``.

    Without a default (or with None) the setting is required; give ``optional(parse)`` and a default of
    ``""`` to what may be left out. An environment variable that is set but empty counts as not set,
    because a template that has nothing to say renders it so.
    """
    declaration = _Declaration(env, text, parse, required=default is None)
    metadata = {_METADATA: declaration}
    if default is None:
        return cast("_Value", dataclasses.field(metadata=metadata))
    return dataclasses.field(default=default, metadata=metadata)


def load(
    kind: type[_Settings], arguments: Sequence[str], environment: Mapping[str, str], program: str
) -> _Settings:
    """Return the settings, or raise SettingsError with every problem. ``--help`` raises SystemExit(0)."""
    declarations = _declarations(kind)
    flags = vars(_parser(kind, declarations, program).parse_args(arguments))
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, declaration in declarations.items():
        found, source = _found(name, declaration, flags, environment)
        if found is None:
            if declaration.required:
                problems.append(f"{_flag(name)}: not set; {_remedy(name, declaration)}")
            continue
        try:
            values[name] = declaration.parse(found)
        except ValueError as error:
            problems.append(f"{source}: found {found!r}; {error}; {_remedy(name, declaration)}")
    if problems:
        raise SettingsError(problems)
    return kind(**values)


def text(value: str) -> str:
    """Parse any text but the empty one."""
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def optional(parse: Callable[[str], str]) -> Callable[[str], str]:
    """Let the empty text through, which means "not set"."""
    return lambda value: parse(value) if value else ""


def integer(least: int, most: int) -> Callable[[str], int]:
    """Return the parser of a whole number within both limits."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return number

    return parse


port = integer(0, 65535)
"""A TCP port; 0 lets the system choose one."""


def seconds(most: float) -> Callable[[str], float]:
    """Return the parser of a duration in seconds, fractions allowed, from 0 to ``most``."""

    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number <= most:  # also refuses NaN
            raise ValueError(f"must be a number of seconds from 0 to {most:g}, without a unit")
        return number

    return parse


def choice(*allowed: str) -> Callable[[str], str]:
    """Return the parser of one of a few words."""

    def parse(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return value

    return parse


def boolean(value: str) -> bool:
    """Parse a switch: its flag is given as ``--name=true`` or ``--name=false``."""
    word = value.lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("must be true or false")
    return word in _TRUE


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProcessSettings:
    """What every process of ours is told; a process's own settings inherit from it."""

    namespace: str = setting(
        env="POD_NAMESPACE",
        text="the namespace this process is installed in",
        parse=text,
        default="kruise-rollout",
    )
    kubeconfig: str = setting(
        env="KUBECONFIG",
        text="path of a kubeconfig file; empty: the pod's own service account",
        parse=optional(text),
        default="",
    )
    bind_address: str = setting(
        env="BIND_ADDRESS",
        text="address that every port of this process listens on; empty: all addresses",
        parse=optional(text),
        default="",
    )
    http_port: int = setting(
        env="HTTP_PORT",
        text="plain HTTP port of /healthz, /readyz and /metrics",
        parse=port,
        default=8080,
    )
    log_level: str = setting(
        env="LOG_LEVEL",
        text="least level that is logged: debug, info, warning or error",
        parse=choice("debug", "info", "warning", "error"),
        default="info",
    )
    log_format: str = setting(
        env="LOG_FORMAT",
        text="json, text, or auto: text when standard error is a terminal",
        parse=choice("json", "text", "auto"),
        default="auto",
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError([f"{message}; see --help for the settings there are"])


def _declarations(kind: type[Any]) -> dict[str, _Declaration]:
    return {field.name: field.metadata[_METADATA] for field in dataclasses.fields(kind)}


def _parser(kind: type[Any], declarations: Mapping[str, _Declaration], program: str) -> _Parser:
    parser = _Parser(prog=program, description=kind.__doc__, allow_abbrev=False)
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    for name, declaration in declarations.items():
        default = "required" if declaration.required else f"default: {defaults[name]!r}"
        parser.add_argument(
            _flag(name),
            metavar="VALUE",
            help=f"{declaration.help} (environment: {declaration.env}; {default})".replace("%", "%%"),
        )
    return parser


def _found(
    name: str, declaration: _Declaration, flags: Mapping[str, str | None], environment: Mapping[str, str]
) -> tuple[str | None, str]:
    given = flags[name]
    if given is not None:
        return given, f"flag {_flag(name)}"
    return environment.get(declaration.env) or None, f"environment variable {declaration.env}"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _remedy(name: str, declaration: _Declaration) -> str:
    return f"set {_flag(name)} or the environment variable {declaration.env} ({declaration.help})"
