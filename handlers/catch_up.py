"""Updates the cache entries of changed orders that were not written, because of a crash or an outage of Redis.

`handlers.cache_recovery` handles the case that Redis has lost cache entries that were written.
"""

import asyncio
from collections.abc import Awaitable
from itertools import accumulate

import asyncpg
import structlog
from asyncpg import Connection
from redis.exceptions import RedisError

from engine.actors.identity import Identity
from engine.postgres.bookkeeping import local_transaction
from engine.postgres.errors import ERRORS, describe, is_outage
from engine.postgres.link import Link
from handlers.cache import OrderCache, versioned_traces
from handlers.cache_bookkeeping import (
    PendingChange,
    adopt_older_notes,
    anything_left,
    expire_notes,
    lock_pending,
    mark_followed,
)
from handlers.cache_recovery import MARGIN_S, CacheRecovery
from handlers.events import CACHE_CATCH_UP_FAILED, CACHE_CAUGHT_UP
from handlers.reader import fetch_bodies

CHECK_S = 5.0
OLDER_THAN_S = 5
PAGE_NOTES = 200
PAGE_UIDS = 2000
MAX_UIDS = 1000


class CatchUp:
    """Checks every few seconds whether Redis was restarted or replaced, and whether notes about changes are left."""

    def __init__(self, cache: OrderCache, link: Link, ttl_s: int, identity: Identity) -> None:
        self._cache = cache
        self._link = link
        self._ttl_s = ttl_s
        self._identity = identity
        self._recovery = CacheRecovery(cache, link, ttl_s)
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Check until cancelled. If Redis or PostgreSQL fails, the check that failed is repeated in the next round."""
        while True:
            await self._try(self._recovery.recover())
            await self._try(self._follow_notes())
            await asyncio.sleep(CHECK_S)

    async def _try(self, work: Awaitable[None]) -> None:
        try:
            await work
        except (RedisError, *ERRORS) as error:
            if isinstance(error, asyncpg.PostgresError) and not is_outage(error):
                raise
            self._log.debug(CACHE_CATCH_UP_FAILED, error=describe(error))

    async def _follow_notes(self) -> None:
        identity = self._identity
        async with self._link.use() as connection:
            asked = anything_left(connection, identity.group, identity.topic, OLDER_THAN_S)
            if not await self._link.within_deadline(asked):
                return
        await self._try(self._keep_notes())
        await self._try(self._catch_up_all())

    async def _keep_notes(self) -> None:
        """Take over notes of an older build, and delete those that say nothing any more. Redis is not needed for it."""
        more = True
        while more:
            async with self._link.use() as connection:
                more = await self._link.within_deadline(self._adopt_and_expire(connection))

    async def _adopt_and_expire(self, connection: Connection) -> bool:
        async with local_transaction(connection):
            await adopt_older_notes(connection, self._identity.group, self._identity.topic, OLDER_THAN_S)
            return await expire_notes(connection, self._ttl_s + MARGIN_S)

    async def _catch_up_all(self) -> None:
        while await self.catch_up_page():
            pass

    async def catch_up_page(self) -> bool:
        """Write the orders of one page of notes to the cache. Returns whether there may be more notes."""
        async with self._link.use() as connection:
            return await self._link.within_deadline(self._catch_up(connection))

    async def _catch_up(self, connection: Connection) -> bool:
        async with local_transaction(connection):
            changes = _page(await lock_pending(connection, OLDER_THAN_S, PAGE_NOTES))
            if not changes:
                return False
            uids = sorted({uid for change in changes for uid in change.order_uids})
            for start in range(0, len(uids), MAX_UIDS):
                bodies = await fetch_bodies(connection, uids[start : start + MAX_UIDS])
                await self._cache.put_many(list(bodies.items()), versioned_traces(bodies))
            batches = {change.batch_id for change in changes}
            await mark_followed(connection, [change.id for change in changes], list(batches))
        self._log.info(CACHE_CAUGHT_UP, batches=len(batches), orders=len(uids))
        return True


def _page(changes: list[PendingChange]) -> list[PendingChange]:
    """Return the first notes, of about `PAGE_UIDS` orders, one note at least."""
    before = accumulate((len(change.order_uids) for change in changes), initial=0)
    return [change for change, orders in zip(changes, before, strict=False) if orders < PAGE_UIDS]
