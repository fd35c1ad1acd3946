"""Lets one replay of many letters run at a time, so that two do not send the same letters."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from engine.dead_letters.store import Owner
from engine.postgres.errors import ERRORS
from lookup.serving.refusal import Refused
from lookup.serving.store_reader import StoresUnavailable

if TYPE_CHECKING:
    from lookup.serving.store_reader import Connection, Pool

RUNNING = "replay_running"
# The lock ends with its transaction: a session's lock would stay in a pooler's connection.
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended('orderflow replay ' || $1 || ' ' || $2, 0))"


class ReplayTurn:
    """The turn of one consumer group. In this process replays wait for each other, for `longest_s` seconds at most."""

    def __init__(self, pool: "Pool", owner: Owner, *, deadline_s: float, longest_s: float) -> None:
        self._pool = pool
        self._owner = owner
        self._deadline_s = deadline_s
        self._longest_s = longest_s
        self._here = asyncio.Lock()

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Hold the turn. Raises `Refused` (409) while another process has it, and `StoresUnavailable`."""
        try:
            async with asyncio.timeout(self._longest_s):
                await self._here.acquire()
        except TimeoutError:
            raise Refused(RUNNING, 409) from None
        try:
            connection = await self._connect()
            try:
                if not await self._lock(connection):
                    raise Refused(RUNNING, 409)
                yield
            finally:
                await self._release(connection)
        finally:
            self._here.release()

    async def _connect(self) -> "Connection":
        try:
            return await self._pool.acquire(timeout=self._deadline_s)
        except ERRORS:
            raise StoresUnavailable from None

    async def _lock(self, connection: "Connection") -> bool:
        try:
            async with asyncio.timeout(self._deadline_s):
                await connection.execute("BEGIN")
                return bool(await connection.fetchval(_LOCK, self._owner.group, self._owner.topic))
        except ERRORS:
            raise StoresUnavailable from None

    async def _release(self, connection: "Connection") -> None:
        try:
            async with asyncio.timeout(self._deadline_s):
                await connection.execute("ROLLBACK")
        except ERRORS:
            connection.terminate()
        except asyncio.CancelledError:
            connection.terminate()
            raise
        finally:
            with suppress(*ERRORS):
                await self._pool.release(connection)
