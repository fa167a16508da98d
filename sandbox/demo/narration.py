"""How the demo speaks: headings, progress with elapsed seconds, and findings that decide its exit code."""
# ruff: noqa: T201  it speaks to a terminal

import textwrap
import time
from collections.abc import Iterable

_WIDTH = 110


class Narration:
    """One run of the demo as a person reads it, and what was found to differ in it."""

    def __init__(self) -> None:
        self.differences: list[str] = []
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._started

    def heading(self, text: str) -> None:
        """Begin a stage."""
        print(f"\n── {text} {'─' * max(0, _WIDTH - len(text) - 4)}", flush=True)

    def say(self, text: str) -> None:
        """Explain what is going on, with the seconds since the start."""
        prefix = f"[{self.elapsed:5.1f} s] "
        wrapped = textwrap.fill(text, _WIDTH, initial_indent=prefix, subsequent_indent=" " * len(prefix))
        print(wrapped, flush=True)

    def command(self, arguments: Iterable[str]) -> None:
        """Show a command before it is run."""
        print(f"\n$ {' '.join(arguments)}", flush=True)

    def output(self, text: str) -> None:
        """Show what a command printed."""
        if text.strip():
            print(text.rstrip(), flush=True)

    def check(self, what: str, differences: Iterable[str]) -> None:
        """Say whether something is as the walkthrough has it, and remember if not."""
        found = list(differences)
        for difference in found:
            print(f"   DIFFERS: {what}: {difference}", flush=True)
        if not found:
            print(f"   as expected: {what}", flush=True)
        self.differences.extend(f"{what}: {difference}" for difference in found)

    def expect(self, what: str, expected: object, found: object) -> None:
        """Compare one value."""
        self.check(what, [] if expected == found else [f"{found!r} instead of {expected!r}"])
