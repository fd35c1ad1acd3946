"""One fault run: load while something breaks, then the checker."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg
from redis.asyncio import Redis

from orderflow.settings import Settings
from tests.chaos.checker import Ledger, Report, VersionWatch, check, drained


async def run_under_load(
    settings: Settings,
    database: asyncpg.Connection,
    redis: Redis,
    ledger: Ledger,
    break_things: Callable[[], Awaitable[None]],
    messages: int = 6000,
    per_second: float = 1500,
) -> Report:
    """Publish `messages` while `break_things` runs, wait until all is drained, and return the checker's report."""
    watch = VersionWatch(settings)
    watching = asyncio.create_task(watch.run(), name="version-watch")
    try:
        load = asyncio.create_task(ledger.publish(messages, per_second), name="load")
        await asyncio.gather(load, break_things())
        await drained(database, settings, ledger.sent)
        report = await check(database, redis, settings, ledger.sent)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    report.went_back += watch.went_back
    return report
