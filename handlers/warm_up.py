"""Caches the newest orders at start, in pages. This runs in the background and does not delay readiness."""

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


class WarmUp:
    """Caches the newest `limit` orders by `date_created`, once."""

    def __init__(self, cache: OrderCache, link: Link, limit: int) -> None:
        self._cache = cache
        self._link = link
        self._limit = limit
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Fill the cache once. If Redis or PostgreSQL fails, this ends early: lookups also fill the cache."""
        warmed = 0
        before: tuple[Any, str] | None = (datetime.max.replace(tzinfo=UTC), "")
        try:
            while warmed < self._limit and before is not None:
                async with self._link.use() as connection:
                    page = min(PAGE_ORDERS, self._limit - warmed)
                    bodies, before = await self._link.within_deadline(fetch_newest(connection, before, page))
                await self._cache.put_many(list(bodies.items()), versioned_traces(bodies))
                warmed += len(bodies)
                await asyncio.sleep(0)
        except (RedisError, *ERRORS) as error:
            self._log.warning(CACHE_WARMING_STOPPED, orders=warmed, error=describe(error))
            return
        self._log.info(CACHE_WARMED, orders=warmed)
