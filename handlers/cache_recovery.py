"""Detects that Redis was restarted or replaced, and deletes outdated bodies from it.

If Redis restarts from a snapshot, or a replica takes over, the last writes are lost. Then the cache may have an old
version of an order, although the last change had been cached. Every cache entry was written within the time to live,
so only orders that were changed since then can be outdated.
"""

from datetime import datetime

import structlog
from asyncpg import Connection
from redis.exceptions import ResponseError

from engine.postgres.bookkeeping import LOCAL_COMMIT
from engine.postgres.link import Link
from handlers.body import version_of
from handlers.cache import OrderCache
from handlers.events import CACHE_RECOVERED, CACHE_SERVER_HIDDEN

PAGE_ORDERS = 1000
MARGIN_S = 60
# SKIP LOCKED: if the row is locked, another worker already does the recovery.
_OTHER_SERVER = "SELECT true FROM cache_servers WHERE run_id <> $1 FOR UPDATE SKIP LOCKED"
_CHANGED = """
SELECT order_uid, updated_at FROM orders
WHERE updated_at > created_at AND (updated_at, order_uid) > ($1::timestamptz, $2::text COLLATE "C")
ORDER BY updated_at, order_uid LIMIT $3
"""
_SINCE = "SELECT clock_timestamp() - make_interval(secs => $1)"
_RECOVERED = "UPDATE cache_servers SET run_id = $1, recovered_at = clock_timestamp()"


class CacheRecovery:
    """Compares the run id of Redis with the stored one of the last recovery. `ttl_s` is the time to live of bodies."""

    def __init__(self, cache: OrderCache, link: Link, ttl_s: int) -> None:
        self._cache = cache
        self._link = link
        self._ttl_s = ttl_s
        self._hidden = False
        self._log = structlog.get_logger()

    async def recover(self) -> None:
        """Delete outdated bodies if the run id has changed. Raises errors of Redis and PostgreSQL; then call it again.

        If the server does not return a run id, this is logged once and nothing is deleted.
        """
        try:
            run_id = await self._cache.run_id()
        except ResponseError:
            run_id = None
        if run_id is None:
            if not self._hidden:
                self._log.warning(CACHE_SERVER_HIDDEN, fix="allow REDIS_USERNAME the command INFO, with its run_id")
            self._hidden = True
            return
        self._hidden = False
        within_deadline = self._link.within_deadline
        # An exception leaves the transaction open. The link closes a connection that is still in a transaction.
        async with self._link.use() as connection:
            await within_deadline(connection.execute(f"BEGIN; {LOCAL_COMMIT}"))
            if await within_deadline(connection.fetchval(_OTHER_SERVER, run_id)):
                await self._drop_older(connection, run_id)
            await within_deadline(connection.execute("COMMIT"))

    async def _drop_older(self, connection: Connection, run_id: str) -> None:
        since = await self._link.within_deadline(connection.fetchval(_SINCE, self._ttl_s + MARGIN_S))
        after: tuple[datetime, str] = (since, "")
        orders = dropped = 0
        while rows := await self._link.within_deadline(connection.fetch(_CHANGED, *after, PAGE_ORDERS)):
            dropped += await self._cache.drop_older([(row["order_uid"], version_of(row["updated_at"])) for row in rows])
            orders += len(rows)
            after = (rows[-1]["updated_at"], rows[-1]["order_uid"])
        await self._link.within_deadline(connection.execute(_RECOVERED, run_id))
        self._log.info(CACHE_RECOVERED, changed_orders=orders, dropped=dropped)
