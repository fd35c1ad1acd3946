"""Waits for a service that is merely down, says so once, and gives up when its time is over."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from orderflow.exits import Failed
from orderflow.progress import tell_waiting

T = TypeVar("T")
RETRY_DELAY_S = 0.5


async def wait_for_answer(
    ask: Callable[[], Awaitable[T | None]], timeout_s: float, service: str, address: str, complaint: str
) -> T:
    """Return what `ask` returns, asked again and again while that is None. Raises `Failed` with `complaint`."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout_s
    told = False
    while (answer := await ask()) is None:
        if clock() + RETRY_DELAY_S > deadline:
            raise Failed(complaint)
        if not told:
            tell_waiting(service, address, timeout_s)
            told = True
        await asyncio.sleep(RETRY_DELAY_S)
    return answer
