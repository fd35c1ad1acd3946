"""Detects that Redis was restarted or replaced, and deletes outdated bodies from it.

If Redis restarts from a snapshot, or a replica takes over, the last writes are lost. Then the cache may have an old
version of an order, although the last change had been cached. Every cache entry was written within the time to live,
so only orders that were changed since then can be outdated. In a cluster this is known of each primary, and only the
keys of those that have changed are looked at.
"""

from collections.abc import Collection
from datetime import datetime

import structlog
from asyncpg import Connection
from redis.exceptions import ClusterDownError, ResponseError

from engine.postgres.bookkeeping import LOCAL_COMMIT
from engine.postgres.link import Link
from handlers.body import version_of
from handlers.cache import OrderCache
from handlers.events import CACHE_RECOVERED, CACHE_SERVER_HIDDEN

PAGE_ORDERS = 1000
MARGIN_S = 60
_HAS_CHANGED = "SELECT 1 FROM cache_servers WHERE run_id <> $1 OR replication_id <> $2"
# SKIP LOCKED: if the row is locked, another worker already does the recovery.
_OTHER_SERVERS = """
SELECT run_id, replication_id FROM cache_servers
WHERE run_id <> $1 OR replication_id <> $2 FOR UPDATE SKIP LOCKED
"""
_SEPARATOR = ","
_CHANGED = """
SELECT order_uid, updated_at FROM orders
WHERE updated_at > created_at AND (updated_at, order_uid) > ($1::timestamptz, $2::text COLLATE "C")
ORDER BY updated_at, order_uid LIMIT $3
"""
_SINCE = "SELECT clock_timestamp() - make_interval(secs => $1)"
_RECOVERED = "UPDATE cache_servers SET run_id = $1, replication_id = $2, recovered_at = clock_timestamp()"


class CacheRecovery:
    """Compares the identities of the servers with those of the last recovery. `ttl_s` is the time to live of bodies."""

    def __init__(self, cache: OrderCache, link: Link, ttl_s: int) -> None:
        self._cache = cache
        self._link = link
        self._ttl_s = ttl_s
        self._hidden = False
        self._log = structlog.get_logger()

    async def recover(self) -> None:
        """Delete outdated bodies if a server has changed. Raises errors of Redis and PostgreSQL; then call it again.

        If a server does not return its identity, this is logged once and nothing is deleted.
        """
        try:
            identities = await self._cache.identities()
        except ClusterDownError:
            raise
        except ResponseError:
            identities = None
        if identities is None:
            if not self._hidden:
                self._log.warning(CACHE_SERVER_HIDDEN, fix="allow REDIS_USERNAME the command INFO, with its run_id")
            self._hidden = True
            return
        self._hidden = False
        within_deadline = self._link.within_deadline
        # Two columns: an engine of an older build compares the run ids alone.
        now = [_SEPARATOR.join(parts) for parts in zip(*(identity.split(":") for identity in identities), strict=True)]
        # An exception leaves the transaction open. The link closes a connection that is still in a transaction.
        async with self._link.use() as connection:
            if await within_deadline(connection.fetchval(_HAS_CHANGED, *now)) is None:
                return
            await within_deadline(connection.execute(f"BEGIN; {LOCAL_COMMIT}"))
            before = await within_deadline(connection.fetchrow(_OTHER_SERVERS, *now))
            if before is not None:
                known = zip(*(parts.split(_SEPARATOR) for parts in before), strict=False)
                await self._drop_older(connection, set(identities) - {":".join(parts) for parts in known})
                await within_deadline(connection.execute(_RECOVERED, *now))
            await within_deadline(connection.execute("COMMIT"))

    async def _drop_older(self, connection: Connection, changed: Collection[str]) -> None:
        if not changed:
            return
        since = await self._link.within_deadline(connection.fetchval(_SINCE, self._ttl_s + MARGIN_S))
        after: tuple[datetime, str] = (since, "")
        orders = dropped = 0
        while rows := await self._link.within_deadline(connection.fetch(_CHANGED, *after, PAGE_ORDERS)):
            versions = [(row["order_uid"], version_of(row["updated_at"])) for row in rows]
            dropped += await self._cache.drop_older(versions, changed)
            orders += len(rows)
            after = (rows[-1]["updated_at"], rows[-1]["order_uid"])
        self._log.info(CACHE_RECOVERED, changed_orders=orders, dropped=dropped)
