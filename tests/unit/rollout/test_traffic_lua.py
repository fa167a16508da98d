"""Users' scripts: what they can do, what they cannot, and that none of them goes on for ever."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.traffic.lua import Failure, Script, fit, run
from rollout.wire import JsonObject

NAME = "lua.traffic.routing.Lane.example.com"


def ran(source: str, value: JsonObject | None = None) -> object:
    """Run a script; gives the result, or why there is none."""
    result = run(Script(NAME, source), value or {})
    return result.why if isinstance(result, Failure) else result


# Numbers that a double holds exactly, as Kubernetes' own JSON has them; no null, which Lua has no place for.
VALUES = st.recursive(
    st.booleans() | st.integers(-(10**14), 10**14) | st.floats(-1e6, 1e6) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_value_comes_back_as_it_went_in(value: dict[str, object]) -> None:
    """Into Lua and out again nothing changes, empty lists and objects included."""
    result = run(Script(NAME, "return obj"), value)

    assert not isinstance(result, Failure)
    assert json.dumps(fit(result, value), sort_keys=True) == json.dumps(value, sort_keys=True)


def test_integer_beyond_a_double_is_kept_where_it_was_not_changed() -> None:
    """A number that Lua cannot hold is taken from the original."""
    large = 2**60 + 1

    assert fit({"a": float(large), "b": 2}, {"a": large, "b": 1}) == {"a": large, "b": 2}


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("return {s = tostring(100 - 80)}", {"s": "20"}),
        ("return {n = 100 / 8}", {"n": 12.5}),
        ("return {s = string.format('%s %d', 'a', 5)}", {"s": "a 5"}),
        ("return {n = #('web-1.example.com'):match('^(.-)%.')}", {"n": 5}),
        (
            "local t = {3, 1, 2} table.sort(t) return {t = t, u = {unpack(t)}}",
            {"t": [1, 2, 3], "u": [1, 2, 3]},
        ),
        ("return json.decode(json.encode({a = {1, 2}, b = 'ü'}))", {"a": [1, 2], "b": "ü"}),
        ("return {ok = pcall(error, 'no')}", {"ok": False}),
        ("return {ok = select(2, xpcall(error, function() return 'caught' end))}", {"ok": "caught"}),
        ("return {t = setmetatable({}, {__index = {a = 1}}).a}", {"t": 1}),
        ("return {n = table.getn({1, 2}), m = math.floor(2.5)}", {"n": 2, "m": 2}),
        ("print('to nobody') return {}", {}),
    ],
)
def test_scripts_have_what_this_api_has_always_given_them(source: str, result: object) -> None:
    """Lua 5.1 with the libraries base, math, string, table and json."""
    assert ran(source) == result


@pytest.mark.parametrize(
    "name",
    [
        "io",
        "os",
        "debug",
        "package",
        "require",
        "module",
        "load",
        "loadstring",
        "loadfile",
        "dofile",
        "python",
        "coroutine",
        "getfenv",
        "setfenv",
        "newproxy",
        "collectgarbage",
        "string.dump",
    ],
)
def test_nothing_leads_out_of_the_sandbox(name: str) -> None:
    """No file, no process, no other code, no object of the host."""
    assert ran(f"return {{found = tostring({name})}}") == {"found": "nil"}


def test_what_one_script_changes_no_other_sees() -> None:
    """Each run has a world of its own."""
    ran("string.format = nil leaked = 1 getmetatable('').__index.upper = nil return {}")

    assert ran("return {a = tostring(leaked), b = ('x'):upper(), c = ('%d'):format(1)}") == {
        "a": "nil",
        "b": "X",
        "c": "1",
    }


@pytest.mark.parametrize(
    "source",
    [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "xpcall(function() while true do end end, function() while true do end end) return {}",
        "local function f() return pcall(f) end while true do f() end",
        "local function f() f() end while true do pcall(f) end",
        "return {a = string.find(string.rep('a', 200), string.rep('a*', 20) .. 'b')}",
        "while true do string.gsub(string.rep('a', 40), string.rep('a-', 3) .. 'b', '') end",
        "setmetatable(_G, {__index = function(_, key) return _G[key .. 'x'] end}) while true do pcall(a) end",
        "error(setmetatable({}, {__tostring = function() while true do end end}))",
        "return setmetatable({}, {__index = function() while true do end end})",
        "local t = {} for i = 1, 99 do t = {t, t} end return t",
    ],
)
def test_endless_script_is_ended(source: str) -> None:
    """Within a second, whatever it does about errors; the failure is a value."""
    assert isinstance(run(Script(NAME, source), {}), Failure) or ran(source) == {}


@pytest.mark.parametrize(
    "source",
    [
        "local t = {} while true do t[#t + 1] = 'x' .. #t end",
        "local s = 'x' while true do s = s .. s end",
        "while true do pcall(function() local s = 'x' while true do s = s .. s end end) end",
    ],
)
def test_script_that_takes_all_memory_is_ended(source: str) -> None:
    """The process has a limit that other releases need."""
    assert ran(source) == f"{NAME}: needs more than 16 MiB of memory"


def test_endless_loop_is_told_as_one() -> None:
    """The message says what to look for."""
    assert ran("while true do end") == (
        f"{NAME}: stopped after 20000000 instructions or 1 s: does it loop for ever?"
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("local spec\nreturn spec.http", ":2: attempt to index local 'spec' (a nil value)"),
        ("retrun obj", ":1: '=' expected near 'obj'"),
        ("error('no route of that name')", ":1: no route of that name"),
        ("error({})", ": fails with an error without a text"),
        ("return 5", ": returns a number, not a table"),
        ("local a = 1", ": returns nothing, not a table"),
        ("\x1bLuaQ", ": compiled code is not run, only source"),
        ("return {1, a = 2}", ": json.encode: a table with keys of several kinds, at a"),
        ("return {a = print}", ": json.encode: no JSON for a function"),
        ("return {a = 1 / 0}", ": json.encode: no JSON for the number inf"),
        ("local t = {} t.t = t return t", ": json.encode: deeper than 100, or a table that contains itself"),
        ("return {s = '\\255'}", ": its text, or a text that it returns, is not UTF-8"),
        ("string.rep('x', 1e9)", ": stopped after 20000000 instructions or 1 s: does it loop for ever?"),
        ("table.insert({}, -1e9, 1)", ":1: table.insert: position -1000000000 is outside of the list"),
        ("unpack({}, 0, 2^31 - 1)", ":1: unpack: more than 200 values"),
    ],
)
def test_failure_names_script_and_line(source: str, why: str) -> None:
    """Whoever wrote the script finds the place."""
    assert ran(source) == NAME + why


def test_same_script_gives_the_same_result_always() -> None:
    """A routing is recognised by rendering it again."""
    source = "local t = {} for i = 1, 5 do t[i] = math.random(1000) end math.randomseed(9) return {t = t}"

    first = ran(source)
    ran("math.random() return {}")

    assert first == ran(source + " ")


@given(VALUES, VALUES)
def test_fitting_changes_nothing_but_what_lua_cannot_tell(result: object, original: object) -> None:
    """Beside empty tables and the spelling of numbers, a script's word counts."""
    fitted = fit(result, original)

    assert _loosely(fitted) == _loosely(result)
    assert fit(fitted, original) == fitted


def _loosely(value: object) -> object:
    """Give a value without what Lua cannot tell."""
    match value:
        case {} | [] if not value:
            return "empty"
        case dict():
            return {key: _loosely(each) for key, each in value.items()}
        case list():
            return [_loosely(each) for each in value]
        case bool():
            return str(value)
        case int():
            return float(value)
        case _:
            return value
