"""Waits for a service that is down, reports that once, and fails after a time-out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from orderflow.exits import Failed
from orderflow.progress import report_waiting

T = TypeVar("T")
RETRY_DELAY_S = 0.5


async def wait_for_answer(
    ask: Callable[[], Awaitable[T | None]], timeout_s: float, service: str, address: str, failure: str
) -> T:
    """Call `ask` until it returns something other than None, and return that. Raises `Failed(failure)` at the end."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout_s
    reported = False
    while (answer := await ask()) is None:
        if clock() + RETRY_DELAY_S > deadline:
            raise Failed(failure)
        if not reported:
            report_waiting(service, address, timeout_s)
            reported = True
        await asyncio.sleep(RETRY_DELAY_S)
    return answer
