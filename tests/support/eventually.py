"""Waits for rows, keys and files that another process writes, by polling."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from tests.support.programs import Running

T = TypeVar("T")
POLL_S = 0.05


async def eventually(look: Callable[[], Awaitable[T]], wanted: Callable[[T], bool], timeout_s: float = 20) -> T:
    """Call `look` until `wanted` accepts its result, and return that. Fails with the last result after `timeout_s`."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not wanted(seen := await look()):
        assert asyncio.get_running_loop().time() < deadline, f"not within {timeout_s:g} s; last seen: {seen!r}"
        await asyncio.sleep(POLL_S)
    return seen


async def consumed(database: asyncpg.Connection, messages: int, timeout_s: float = 60) -> None:
    """Wait until the stored batches have so many messages in total. Fails after `timeout_s`."""
    total = "SELECT coalesce(sum(messages), 0) FROM batches"
    await eventually(lambda: database.fetchval(total), lambda found: found == messages, timeout_s)


_UNSETTLED = """
SELECT (SELECT count(*) FROM cache_pending)
     + (SELECT count(*) FROM batches LEFT JOIN cached_batches USING (batch_id)
        WHERE cached_batches.batch_id IS NULL OR ended_at = 'infinity')
"""


async def settled(engine: Running, database: asyncpg.Connection, batches: int) -> None:
    """Wait until so many batches are committed and cached, and the rows that they share are complete."""
    await engine.wait_for("batch_committed", count=batches)
    await eventually(lambda: database.fetchval(_UNSETTLED), (0).__eq__)
