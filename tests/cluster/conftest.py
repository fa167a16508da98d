"""One sandbox cluster for the whole run, one namespace of its own for every test.

Files in this directory are marked `cluster`, and their coroutines run in the one
event loop in which the cluster lives.
"""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import namespace as private_namespaces
from sandbox.cluster import Cluster
from sandbox.data_plane import DataPlane
from tests.cluster.product import app, product

__all__ = ["app", "product"]

_HERE = Path(__file__).parent
_numbers = count(1)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in this directory, skip it where no cluster can be, and put it after the others."""
    outside = pytest.mark.skip(reason="needs the sandbox's private namespaces: run scripts/test")
    for item in items:
        if not item.path.is_relative_to(_HERE):
            continue
        item.add_marker(pytest.mark.cluster)
        item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
        if not private_namespaces.inside():
            item.add_marker(outside)
    # The quick tests first, in whatever order they have among themselves; nothing long at the end, where the
    # other workers would have nothing to do.
    items.sort(key=lambda item: (_is(item, "cluster"), not _is(item, "long")))


def _is(item: pytest.Item, marker: str) -> bool:
    return item.get_closest_marker(marker) is not None


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster() -> AsyncIterator[Cluster]:
    """Run one cluster for all tests: what is not in a test's own namespace must be put back."""
    async with Cluster() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def data_plane(cluster: Cluster) -> DataPlane:
    """Run the cluster's ingress controller."""
    return await cluster.data_plane()


@pytest_asyncio.fixture(loop_scope="session")
async def namespace(cluster: Cluster) -> AsyncIterator[str]:
    """Create a namespace for one test; it is deleted in the background afterwards."""
    name = f"test-{next(_numbers)}"
    await cluster.create_namespace(name)
    yield name
    await cluster.delete("namespaces", None, name)
