"""Caches the newest orders at start, in pages. This runs in the background and does not delay readiness.

Orders dated in the future are left out, as in lists: they would take the places of the orders that are asked for.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

import structlog
from redis.exceptions import RedisError

from engine.postgres.errors import ERRORS, describe
from engine.postgres.link import Link
from handlers.cache import OrderCache, versioned_traces
from handlers.events import CACHE_WARMED, CACHE_WARMING_STOPPED
from handlers.reader import fetch_newest

PAGE_ORDERS = 500
RETRY_S = 5.0


class WarmUp:
    """Caches the newest `limit` orders by `date_created`, once."""

    def __init__(self, cache: OrderCache, link: Link, limit: int) -> None:
        self._cache = cache
        self._link = link
        self._limit = limit
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Fill the cache once. If Redis or PostgreSQL fails, the page that failed is repeated until it succeeds."""
        warmed = 0
        stopped = False
        before: tuple[Any, str] | None = (datetime.max.replace(tzinfo=UTC), "")
        while warmed < self._limit and before is not None:
            try:
                async with self._link.use() as connection:
                    page = min(PAGE_ORDERS, self._limit - warmed)
                    bodies, next_page = await self._link.within_deadline(fetch_newest(connection, before, page))
                await self._cache.put_many(list(bodies.items()), versioned_traces(bodies))
            except (RedisError, *ERRORS) as error:
                if not stopped:
                    self._log.warning(CACHE_WARMING_STOPPED, orders=warmed, error=describe(error))
                stopped = True
                await asyncio.sleep(RETRY_S)
                continue
            before = next_page
            warmed += len(bodies)
            await asyncio.sleep(0)
        self._log.info(CACHE_WARMED, orders=warmed)
