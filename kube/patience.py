"""Waiting for an API server that is away when a process starts; once it is back, every second counts."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

from kube.backoff import Backoff
from kube.errors import ConnectionFailed, ServerError, TooManyRequests

T = TypeVar("T")
log = logging.getLogger(__name__)

# A process that ends instead is started again later and later, up to five minutes.
_BACKOFF = Backoff(first=0.2, cap=5.0)


async def answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer, however long that takes; raises KubeError for a refusal."""
    for failures in count(1):
        try:
            return await ask()
        except (ConnectionFailed, ServerError, TooManyRequests) as error:
            wait = max(_BACKOFF.delay(failures, random.random()), error.retry_after or 0.0)  # noqa: S311  jitter
            facts = {"error": str(error), "again_in": wait}
            log.warning("the API server does not answer", extra=facts)
            await asyncio.sleep(wait)
    raise AssertionError("counting does not end")
