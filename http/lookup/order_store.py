"""Reads orders from PostgreSQL for lookups, within a deadline whatever state the server is in."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg
import structlog

from handlers.reader import fetch_bodies
from lookup import events

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

log = structlog.get_logger()

TROUBLE = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""What asyncpg raises when PostgreSQL has trouble; a time-out is an `OSError`."""


class StoresUnavailable(Exception):
    """Neither store can answer just now. It says nothing of whether the order exists."""


class OrderStore:
    """Reads bodies from PostgreSQL, any number of them in one query."""

    def __init__(self, pool: "Pool", *, deadline_s: float) -> None:
        self._pool = pool
        self._deadline_s = deadline_s
        self._lost = False

    async def read_many(self, uids: Sequence[str]) -> dict[str, bytes]:
        """Return the bodies of those of `uids` that are stored, by uid. Raises `StoresUnavailable`."""
        try:
            bodies = await self._read_again_if_connection_was_lost(uids)
        except TROUBLE as error:
            if not self._lost:
                log.warning(events.STORE_LOST, error=type(error).__name__)
            self._lost = True
            raise StoresUnavailable from None
        if self._lost:
            log.info(events.STORE_BACK)
        self._lost = False
        return bodies

    async def _read_again_if_connection_was_lost(self, uids: Sequence[str]) -> dict[str, bytes]:
        connection: Connection = await self._pool.acquire(timeout=self._deadline_s)
        try:
            return await self._read(connection, uids)
        except TROUBLE as error:
            # A pooled connection may have died while it was idle. That is found out here and is no outage yet.
            if isinstance(error, TimeoutError) or not connection.is_closed():
                raise
        finally:
            await self._pool.release(connection)
        connection = await self._pool.acquire(timeout=self._deadline_s)
        try:
            return await self._read(connection, uids)
        finally:
            await self._pool.release(connection)

    async def _read(self, connection: "Connection", uids: Sequence[str]) -> dict[str, bytes]:
        try:
            return await fetch_bodies(connection, uids, self._deadline_s)
        except TimeoutError:
            # Giving back a connection waits until the server has confirmed the cancelling: a frozen one never does.
            connection.terminate()
            raise
