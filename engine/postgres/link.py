"""A connection to PostgreSQL that is opened on first use and dropped after errors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from asyncpg import Connection

from engine.actors.cancelling import cancel
from engine.postgres.connecting import connect
from engine.postgres.errors import ERRORS, is_momentary, is_outage

T = TypeVar("T")

CUT_GRACE_S = 0.5
"""How long a running operation may take to end after its connection was closed."""
TEST_AFTER_S = 5.0
ANSWERS_WITHIN_S = 5.0


class Link:
    """One connection, used by one caller at a time. It is opened again after an error.

    With `idle_s` it is closed when nobody has used it for so many seconds.
    """

    def __init__(self, options: dict[str, Any], deadline_s: float = 60.0, idle_s: float | None = None) -> None:
        self._options = options
        self._deadline_s = deadline_s
        self._idle_s = idle_s
        self._idle: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._idle_since_s = 0.0
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Connection]:
        """Give the caller the connection. It is dropped after an outage, or if an exception leaves it in a transaction.

        After an outage a session may stay broken (for example read-only) although new sessions work. The connection is
        also dropped after a statement that timed out: asyncpg would let the next statement wait without a limit until
        the server confirms the cancellation.
        """
        async with self._lock:
            if self._connection is None or not await self._is_alive(self._connection):
                self.drop()
                self._connection = await connect(**self._options)
            try:
                yield self._connection
            except (Exception, asyncio.CancelledError) as error:
                lasting = is_outage(error) and not is_momentary(error)
                if lasting or isinstance(error, asyncio.CancelledError) or not self._is_clean():
                    self.drop()
                raise
            finally:
                self._idle_since_s = _now_s()
                if self._idle_s is not None and self._idle is None:
                    self._idle = asyncio.create_task(self._close_when_idle(self._idle_s), name="idle-connection")

    async def _close_when_idle(self, idle_s: float) -> None:
        left_s = idle_s
        while left_s > 0:
            await asyncio.sleep(left_s)
            async with self._lock:
                left_s = self._idle_since_s + idle_s - _now_s()
                if left_s <= 0:
                    self._idle = None
                    await self._close()

    async def _is_alive(self, connection: Connection) -> bool:
        """Return whether a connection can be used. An idle one is tested: the network may have dropped it silently."""
        if connection.is_closed() or _now_s() - self._idle_since_s < TEST_AFTER_S:
            return not connection.is_closed()
        try:
            await connection.execute("SELECT 1", timeout=ANSWERS_WITHIN_S)
        except ERRORS:
            return False
        except asyncio.CancelledError:
            self.drop()
            raise
        return True

    def _is_clean(self) -> bool:
        connection = self._connection
        return connection is not None and not connection.is_closed() and not connection.is_in_transaction()

    async def within_deadline(self, work: Awaitable[T]) -> T:
        """Await `work`, which uses the connection. After the deadline the connection is closed: raises `TimeoutError`.

        The connection is closed because a COPY must not be cancelled in the middle.
        """
        task = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait({task}, timeout=self._deadline_s)
        except asyncio.CancelledError:
            await self._end(task)
            raise
        if done:
            return task.result()
        await self._end(task)
        raise TimeoutError("PostgreSQL did not answer in time")

    async def _end(self, task: "asyncio.Future[Any]") -> None:
        """End work by closing its connection. Work that is waiting for something else is cancelled."""
        self.drop()
        await asyncio.wait({task}, timeout=CUT_GRACE_S)
        await cancel(task)

    def drop(self) -> None:
        """Close the connection at once. May be called at any time."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close the connection with a normal termination message, if there is one."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        await self._close()

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            try:
                await connection.close(timeout=2)
            except ERRORS:
                connection.terminate()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
