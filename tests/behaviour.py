"""The list of behaviours, docs/behaviour.md: every scenario on a real API server, in its test's own words.

python -m tests.behaviour        writes it anew
"""

import ast
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).parent.parent
LIST = _ROOT / "docs" / "behaviour.md"
_SUBJECTS = ("walkthrough", "scenarios", "webhook", "chart", "kinds", "recordings", "kubevela", "outside")

_HEAD = """# What Sluice does

One line for each behaviour, and the test that shows it on a real API server, with real processes and, where
requests matter, through a real proxy. The lines are the tests' own first lines; `python -m tests.behaviour`
writes this list.
"""


def render() -> str:
    """Write the list from the tests as they are."""
    sections = (_section(path) for subject in _SUBJECTS for path in _files(subject))
    return "\n".join([_HEAD, *sections])


def _files(subject: str) -> Iterator[Path]:
    yield from sorted((_ROOT / "tests" / "cluster").glob(f"test_{subject}*.py"))


def _section(path: Path) -> str:
    module = ast.parse(path.read_text(encoding="utf-8"))
    title = _first_line(module).rstrip(".")
    lines = [f"* {_first_line(each)} `{each.name}`" for each in _tests(module)]
    return "\n".join([f"## {title}", "", f"`{path.relative_to(_ROOT).as_posix()}`", "", *lines, ""])


def _tests(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for each in module.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name.startswith("test_"):
            yield each


def _first_line(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    text = ast.get_docstring(node)
    if not text:
        raise ValueError(f"{getattr(node, 'name', 'a module')} does not say what it shows")
    return text.partition("\n")[0]


if __name__ == "__main__":
    LIST.write_text(render(), encoding="utf-8")
