"""Runs one query on PostgreSQL, within a deadline in any state of the server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import asyncpg
import structlog

from engine.postgres.errors import ERRORS
from lookup.serving import events

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

log = structlog.get_logger()

T = TypeVar("T")


class StoresUnavailable(Exception):
    """Neither store can answer now. The order may or may not exist."""


class StoreReader:
    """Runs read-only queries. `name` identifies the reader in the log.

    `deadline_s` limits the wait for a connection, `in_all_s` the total time, with a second attempt.
    """

    def __init__(self, name: str, pool: "Pool", *, deadline_s: float, in_all_s: float | None = None) -> None:
        self._name = name
        self._pool = pool
        self._deadline_s = deadline_s
        self._in_all_s = in_all_s
        self._lost = False

    async def read(self, query: "Callable[[Connection], Awaitable[T]]") -> T:
        """Return what `query` returns. `query` may run twice, and has to keep its own deadline.

        Raises `StoresUnavailable`.
        """
        try:
            async with asyncio.timeout(self._in_all_s):
                return await self._read(query)
        except TimeoutError:
            raise StoresUnavailable from None

    async def _read(self, query: "Callable[[Connection], Awaitable[T]]") -> T:
        try:
            result = await self._retry_on_lost_connection(query)
        except ERRORS as error:
            if not self._lost:
                log.warning(events.STORE_LOST, reader=self._name, error=type(error).__name__)
            self._lost = True
            raise StoresUnavailable from None
        if self._lost:
            log.info(events.STORE_BACK, reader=self._name)
        self._lost = False
        return result

    async def _retry_on_lost_connection(self, query: "Callable[[Connection], Awaitable[T]]") -> T:
        connection: Connection = await self._pool.acquire(timeout=self._deadline_s)
        try:
            return await _run(connection, query)
        except ERRORS as error:
            # A pooled connection may have been lost while it was idle. That is only noticed here, and is no outage.
            if isinstance(error, TimeoutError) or not connection.is_closed():
                raise
        finally:
            await self._pool.release(connection)
        connection = await self._pool.acquire(timeout=self._deadline_s)
        try:
            return await _run(connection, query)
        finally:
            await self._pool.release(connection)


async def _run(connection: "Connection", query: "Callable[[Connection], Awaitable[T]]") -> T:
    try:
        return await query(connection)
    except (TimeoutError, asyncio.CancelledError):
        # Releasing a connection waits until the server confirms the cancellation, and a frozen server never does.
        connection.terminate()
        raise
