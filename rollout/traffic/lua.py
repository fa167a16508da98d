"""Users' Lua scripts: run on JSON values, apart from everything, within limits.

A script sees one global, ``obj``, and the libraries base, math, string, table and json; it returns a
table. Only texts cross the border (``scripts/sandbox.lua``), so nothing of Python is within its
reach. The same script and value give the same result, always.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lupa import lua51

from rollout.traffic import scripts
from rollout.wire import JsonObject

# To read and write an object of 256 KiB, the most that is remembered in an annotation, takes about a fifth;
# an endless script is ended after about 0.1 s, during which this process does nothing else.
_INSTRUCTIONS = 20_000_000
# The backstop for single instructions that take long (as the API has always had a limit of a second).
_SECONDS = 1.0
# Such an object becomes about 5 MiB of Lua tables.
_MEMORY_BYTES = 16 * 2**20
# A plan asks for the same few renderings many times, and the next plan for most of them again.
_REMEMBERED = 512
_OUT_OF_MEMORY = "not enough memory"  # Lua's own words
_LONGEST_COMPLAINT = 300  # of a script: it stands in a status, a condition and an event's note


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the name under which users know it: a key of the ConfigMap, or a built-in's."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a script gave no result: its own words or ours, with name and line where there is one."""

    why: str


def run(script: Script, value: JsonObject) -> Mapping[str, Any] | Failure:
    """Run a script with ``obj`` set to a value; the result is as decoded from JSON."""
    result = _run(script, json.dumps(value, sort_keys=True))
    if isinstance(result, Failure):
        return result
    decoded = json.loads(result)
    return decoded if isinstance(decoded, dict) else {}


def fit(result: Any, original: Any) -> Any:
    """Give back what Lua cannot tell: which empty table is a list, and integers beyond a double's.

    What stands at the same place in the original decides; a new empty table is a list.
    """
    match result, original:
        case [], dict():
            return {}
        case dict(), dict():
            return {key: fit(each, original.get(key)) for key, each in result.items()}
        case list(), list():
            paired = [*original, *[None] * len(result)]
            return [fit(each, other) for each, other in zip(result, paired, strict=False)]
        case dict(), _:
            return {key: fit(each, None) for key, each in result.items()}
        case int() | float(), int() | float() if not isinstance(result, bool) and _same(result, original):
            return original
        case _:
            return result


def _same(result: float, original: float) -> bool:
    return not isinstance(original, bool) and float(result) == float(original)


@lru_cache(maxsize=_REMEMBERED)
def _run(script: Script, value: str) -> str | Failure:
    text = (
        f"{script.name}: stopped after {_INSTRUCTIONS} instructions or {_SECONDS:g} s: does it loop for ever?"
    )
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False, max_memory=_MEMORY_BYTES)
    try:
        sandboxed = lua.execute(scripts.SANDBOX)
        return str(sandboxed(script.name, script.source, value, _INSTRUCTIONS, _SECONDS, text))
    except lua51.LuaMemoryError:
        return Failure(_complaint(script, _OUT_OF_MEMORY))
    except lua51.LuaError as error:
        return Failure(_complaint(script, str(error)))
    except UnicodeError:
        return Failure(f"{script.name}: its text, or a text that it returns, is not UTF-8")


def _complaint(script: Script, text: str) -> str:
    if _OUT_OF_MEMORY in text:
        return f"{script.name}: needs more than {_MEMORY_BYTES // 2**20} MiB of memory"
    line = text.partition("\nstack traceback")[0].replace("\n", " ") or "fails with an error without a text"
    named = line if line.startswith(script.name) else f"{script.name}: {line}"
    return named if len(named) <= _LONGEST_COMPLAINT else f"{named[:_LONGEST_COMPLAINT]}..."
