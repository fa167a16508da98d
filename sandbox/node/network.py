"""Addresses and network namespaces of pods.

Demo pods share the sandbox's network and bind their own address. Pods that run real
commands get a network namespace with one cable (veth) to the sandbox's network, so
that they may listen on 0.0.0.0 and replicas do not collide.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from itertools import count

from sandbox.names import Addresses

_READY = b"ready\n"


class NetworkError(RuntimeError):
    """A pod's network could not be set up."""


class AddressPool:
    """Gives every pod another address; freed ones come last, as clients may still know them."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._shared = self._numbers()
        self._isolated = self._numbers()

    def take(self, *, isolated: bool) -> str:
        """Return an address that no other pod has had for a long while."""
        if isolated:
            return self._addresses.isolated_pod(next(self._isolated))
        return self._addresses.shared_pod(next(self._shared))

    @staticmethod
    def _numbers() -> Iterator[int]:
        capacity = 250 * 128
        return (number % capacity for number in count())


class PodNetwork:
    """A network namespace with one address, kept by a process that sleeps in it."""

    def __init__(self, keeper: asyncio.subprocess.Process) -> None:
        self._keeper = keeper

    @property
    def path(self) -> str:
        """The namespace's file, for nsenter."""
        return f"/proc/{self._keeper.pid}/ns/net"

    async def close(self) -> None:
        """Remove the namespace and, with it, the cable."""
        with contextlib.suppress(ProcessLookupError):
            self._keeper.kill()
        await self._keeper.wait()


async def create_network(address: str, host: str) -> PodNetwork:
    """Create a pod's network namespace; `host` is the sandbox's own address, also its way out."""
    keeper = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", "unshare", "--net"),
        *("sh", "-c", "echo ready; exec sleep infinity"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    if keeper.stdout is None or await keeper.stdout.readline() != _READY:
        raise NetworkError(f"no network namespace for {address}")
    network = PodNetwork(keeper)
    cable = f"pod{keeper.pid}"
    await _ip(
        [],
        f"link add {cable} type veth peer name eth0 netns {keeper.pid}",
        f"address add {host} peer {address} dev {cable}",
        f"link set {cable} up",
    )
    await _ip(
        ["nsenter", f"--net={network.path}"],
        "link set lo up",
        f"address add {address} peer {host} dev eth0",
        "link set eth0 up",
        f"route add default via {host}",
    )
    return network


async def _ip(prefix: list[str], *commands: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *prefix,
        *("ip", "-batch", "-"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate("\n".join(commands).encode())
    if process.returncode != 0:
        raise NetworkError(errors.decode(errors="replace").strip())
