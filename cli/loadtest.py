"""``kubectl sluice loadtest``: a steady load while you release, with every request accounted for."""

import argparse
import asyncio
import contextlib
import math
import signal
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from loadtest.account import Account
from loadtest.load import Stream, Target, running

SUMMARY = "send a steady load and account for every request, for instance during a release"
EXIT_LOST = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

_DESCRIPTION = """\
Send requests at a steady rate until --duration is over or Ctrl-C, and say what became of every one.
A request is lost when it is answered with another status than expected, not in time, or not at all.
Exit code 1 when any was lost. Send it to what is yours.
"""
_PROGRESS_INTERVAL = 1.0
_ENDING = (signal.SIGINT, signal.SIGTERM)
_SHOWN_LOSSES = 20


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "loadtest",
        help=SUMMARY,
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "url", type=_url, metavar="URL", help="scheme, host and port, for instance http://127.0.0.1:8000"
    )
    parser.add_argument("--host", type=_header, default="", help="Host header (default: that of the URL)")
    parser.add_argument("--path", type=_path, default="/", help="path and query (default: %(default)s)")
    parser.add_argument(
        "--rate", type=_rate, default=50.0, help="GETs a second on kept connections (default: %(default)g)"
    )
    parser.add_argument(
        "--fresh-rate", type=_rate, default=0.0, help="GETs a second on a new connection each (default: none)"
    )
    parser.add_argument(
        "--post-rate", type=_rate, default=0.0, help="POSTs a second on kept connections (default: none)"
    )
    parser.add_argument(
        "--body-size", type=_size, default=1024, help="bytes of each POST (default: %(default)d)"
    )
    parser.add_argument("--duration", type=_seconds, help="seconds (default: until Ctrl-C)")
    parser.add_argument("--timeout", type=_seconds, default=10.0, help="seconds for an answer (default: 10)")
    parser.add_argument(
        "--expect",
        type=int,
        action="append",
        metavar="STATUS",
        help="status of a good answer; may be repeated (default: 200)",
    )
    parser.add_argument(
        "--revision-header",
        default="",
        metavar="NAME",
        help="header of the answers that names the version: they are counted by it",
    )


def run(arguments: argparse.Namespace) -> int:
    """Send the load; return the exit code."""
    streams = [
        each
        for each in (
            Stream("kept", arguments.rate, arguments.path),
            Stream("fresh", arguments.fresh_rate, arguments.path, fresh=True),
            Stream("post", arguments.post_rate, arguments.path, method="POST", body_size=arguments.body_size),
        )
        if each.rate > 0
    ]
    if not streams:
        sys.stderr.write("error: nothing to send: give --rate, --fresh-rate or --post-rate\n")
        return EXIT_USAGE
    target = Target(
        arguments.url,
        arguments.host,
        arguments.revision_header,
        expected=frozenset(arguments.expect or {200}),
        timeout=arguments.timeout,
    )
    try:
        account = asyncio.run(_sent(target, streams, arguments.duration))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    sys.stdout.writelines(f"{line}\n" for line in summary(account))
    return EXIT_LOST if account.lost else 0


async def _sent(target: Target, streams: list[Stream], duration: float | None) -> Account:
    account, ended = Account(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, ended.set)
    end = time.monotonic() + (math.inf if duration is None else duration)
    async with running(target, streams, account):
        while (left := end - time.monotonic()) > 0 and not ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(_PROGRESS_INTERVAL, left)):
                    await ended.wait()
            sys.stderr.write(f"{_counts(account)}\n")
        for number in _ENDING:  # a second one ends it at once
            loop.remove_signal_handler(number)
    return account


def summary(account: Account) -> Iterator[str]:
    """Say in lines what became of a load's requests."""
    yield _counts(account)
    for stream, count in sorted(account.sent.items()):
        yield f"  {stream:8} {count}"
    if account.total > account.lost:
        times = (f"p{100 * each:g} {1000 * account.quantile(each):.1f} ms" for each in (0.5, 0.99, 0.999))
        yield f"answered within: {', '.join(times)}"
    for (stream, reason), count in account.losses.most_common(_SHOWN_LOSSES):
        yield f"lost {count} of {stream}: {reason}"


def _counts(account: Account) -> str:
    versions = ", ".join(f"{name or 'answered'} {count}" for name, count in sorted(account.answered.items()))
    return f"sent {account.total}, lost {account.lost}" + (f": {versions}" if versions else "")


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not scheme, host and port, such as http://127.0.0.1:8000; a path belongs to --path"
        )
    return text.rstrip("/")


def _header(text: str) -> str:
    if not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be a header's value")
    return text


def _path(text: str) -> str:
    if not text.startswith("/") or text.startswith("//"):
        raise argparse.ArgumentTypeError(f"{text!r} does not begin with one /")
    return text


def _rate(text: str) -> float:
    return _number(text, at_least=0.0)


def _seconds(text: str) -> float:
    return _number(text, at_least=0.001)


def _size(text: str) -> int:
    return int(_number(text, at_least=0.0))


def _number(text: str, *, at_least: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not at_least <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least {at_least:g}")
    return value
