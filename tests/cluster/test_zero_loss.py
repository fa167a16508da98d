"""No request is lost, by every data plane: a short part of benchmarks/zero_loss, which plays it all."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from benchmarks.zero_loss.planes import PLANES
from benchmarks.zero_loss.runs import installed, play
from benchmarks.zero_loss.scenarios import SCENARIOS
from tests.cluster.product import Product

pytestmark = pytest.mark.long

BY_NAME = {each.name: each for each in SCENARIOS}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def watched() -> AsyncIterator[Product]:
    """Install the chart where every data plane notes the requests that it routes."""
    async with installed() as product:
        yield product


@pytest.mark.parametrize(
    ("name", "style"),
    [("promote", "canary"), ("jump-back", "partition"), ("delete", "partition"), ("kill-leader", "canary")],
)
async def test_release_under_load_loses_no_request(watched: Product, name: str, style: str) -> None:
    """Shares are exact, nothing is answered by the other revision, and nothing is lost."""
    results = await play(watched, BY_NAME[name], style, PLANES)

    assert [(each.plane, each.problems) for each in results] == [(each.name, []) for each in PLANES]
    assert all(each.account.answered.total() > 100 for each in results)
