"""Waits for a service that is down, reports that once, and fails after a time-out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from orderflow.exits import Failed
from orderflow.progress import SLOW_S, report_waiting

T = TypeVar("T")
RETRY_DELAY_S = 0.5


async def wait_for_answer(
    ask: Callable[[], Awaitable[T | None]], timeout_s: float, service: str, address: str, failure: str
) -> T:
    """Call `ask` until it returns something other than None, and return that. Raises `Failed(failure)` at the end.

    Reports the wait once: after the first None, or when that takes longer than `SLOW_S`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    reported = False

    def report() -> None:
        nonlocal reported
        if not reported:
            reported = True
            report_waiting(service, address, timeout_s)

    slow = loop.call_later(SLOW_S, report)
    try:
        while (answer := await ask()) is None:
            if loop.time() + RETRY_DELAY_S > deadline:
                raise Failed(failure)
            report()
            await asyncio.sleep(RETRY_DELAY_S)
    finally:
        slow.cancel()
    return answer
