"""Asking an API server that is away, until it is back."""

import pytest

from kube.errors import ConnectionFailed, Forbidden, KubeError, ServerError, TooManyRequests
from kube.patience import answered


class Cluster:
    """Fails in turn, then answers."""

    def __init__(self, *failures: KubeError) -> None:
        self.failures = list(failures)

    async def ask(self) -> str:
        """Answer, or fail."""
        if self.failures:
            raise self.failures.pop(0)
        return "here"


async def test_no_answer_is_asked_for_again() -> None:
    """Out of reach, failing, or asking for patience: each of them passes."""
    away = ConnectionFailed("refused"), ServerError("etcd", code=500), TooManyRequests("later", code=429)

    assert await answered(Cluster(*away).ask) == "here"


async def test_refusal_is_an_answer() -> None:
    """It would be the same a second later."""
    with pytest.raises(Forbidden):
        await answered(Cluster(Forbidden("no", code=403)).ask)
