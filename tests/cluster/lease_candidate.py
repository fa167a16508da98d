"""A process that stands for election and tells on standard output how it goes; started by the lease tests.

Each line is `<CLOCK_MONOTONIC> <word>`, a clock that all processes of a machine share.
"""

import asyncio
import os
import sys
import time

from kube.client import Client
from kube.lease import Election, LeadershipLost
from kube.login import log_in
from kube.resources import LEASES


def tell(word: str) -> None:
    """Write one line."""
    sys.stdout.write(f"{time.monotonic()} {word}\n")
    sys.stdout.flush()


async def main(kubeconfig: str, namespace: str, name: str) -> None:
    """Stand until elected, act while leading, end when the lead is lost."""
    login = await log_in(environ={}, kubeconfig=kubeconfig)
    async with Client(login, user_agent="test") as client:
        election = Election(client, LEASES.ref(namespace, name), f"candidate-{os.getpid()}")

        async def work() -> None:
            while True:
                if election.leading:
                    tell("acting")
                await asyncio.sleep(0.02)

        try:
            await election.lead(work)
        except LeadershipLost:
            tell("lost")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
