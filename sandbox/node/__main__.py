"""Run the node: `python -m sandbox.node --directory DIR --ordinal N --node NAME...`."""

import argparse
import asyncio
import contextlib
import logging
import signal
import ssl
from pathlib import Path

import aiohttp

from sandbox.api import Api, client_tls
from sandbox.names import Addresses
from sandbox.node.agent import Agent


def _identity(directory: Path) -> ssl.SSLContext:
    return client_tls(directory / "ca.crt", directory / "admin.crt", directory / "admin.key")


async def _run(directory: Path, addresses: Addresses, nodes: list[str]) -> None:
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with (
        Api(addresses.server, _identity(directory)) as api,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        work = asyncio.ensure_future(Agent(api, session, addresses, directory).run(nodes))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await work


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--ordinal", type=int, default=0)
    parser.add_argument("--node", action="append", required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    asyncio.run(_run(arguments.directory, Addresses(arguments.ordinal), arguments.node))


if __name__ == "__main__":
    main()
