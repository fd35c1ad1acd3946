"""A connection to PostgreSQL that is opened on first use and dropped after errors, and the classification of errors."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from asyncpg import Connection

T = TypeVar("T")

CUT_GRACE_S = 0.5
"""How long a running operation may take to end after its connection was closed."""
_DATA_CLASSES = frozenset({"22", "23", "54"})
"""SQLSTATE classes for invalid data: data exception, integrity constraint violation, program limit exceeded."""
_QUICK_RETRY = frozenset({"40001", "40P01"})
_FATAL = frozenset({"28000", "28P01", "3D000", "42501"})
LONGEST_NAME = 63
"""The maximum length of an identifier in PostgreSQL, in bytes. The rest is cut off."""
KEEPALIVES: Mapping[str, str] = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
"""Server settings with which PostgreSQL detects within seconds that a client's machine is gone, and frees its locks."""
OURS = "orderflow"
"""The prefix of `application_name` in every session of orderflow. It tells them apart from those of other programs."""
TEST_AFTER_S = 5.0
ANSWERS_WITHIN_S = 5.0


class Outage(Exception):
    """PostgreSQL cannot do the work now, but may do it later. The message contains no data."""


_TROUBLE = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, ssl.SSLError, Outage)
ERRORS = (*_TROUBLE, asyncpg.PostgresError)
"""What work on a connection may raise."""


def refuses_data(error: BaseException) -> bool:
    """Return whether PostgreSQL, or asyncpg's encoder, refused the data (and not for example the connection)."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _DATA_CLASSES
    return isinstance(error, asyncpg.exceptions.DataError)


def is_outage(error: BaseException) -> bool:
    """Return whether waiting may help: an error of the connection, a lock, the disk, the server or a missing table."""
    if isinstance(error, asyncpg.PostgresError):
        return not refuses_data(error)
    return isinstance(error, _TROUBLE)


def is_momentary(error: BaseException) -> bool:
    """Return whether to try again at once: after a deadlock or a serialization failure."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _QUICK_RETRY


def is_refusal_to_connect(error: BaseException) -> bool:
    """Return whether PostgreSQL refused the login: wrong password, no such database, no permission."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _FATAL


def describe(error: BaseException) -> str:
    """Return a short description without data of any row: the type of the error, and its SQLSTATE."""
    sqlstate = getattr(error, "sqlstate", None)
    return f"{type(error).__name__} ({sqlstate})" if sqlstate else type(error).__name__


def describe_refusal(error: BaseException) -> str:
    """Return the result of `describe` with the table, column and constraint of the error. No data of any row.

    PostgreSQL's message, detail and context quote the row, so they are left out. Texts that are too long for a name are
    left out, too.
    """
    names = ((part, getattr(error, f"{part}_name", None)) for part in ("table", "column", "constraint"))
    parts = [f"{part} {name}" for part, name in names if name and len(name.encode()) <= LONGEST_NAME]
    return f"{describe(error)}: {', '.join(parts)}" if parts else describe(error)


async def fetch_time_s(connection: Any) -> float:
    """Return the time of the database's clock, in seconds since the epoch. All machines use this clock."""
    now_s: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    return now_s


def finding_by_key(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of asyncpg for a session without sequential scans, so that it always uses the indexes.

    A session caches the plans of its statements and of its foreign key checks. A plan that was made while a table was
    empty scans the whole table, and is still used when the table has grown, until PostgreSQL's next analyze.
    """
    return with_server_settings(options, enable_seqscan="off")


def with_server_settings(options: Mapping[str, Any], **settings: str) -> dict[str, Any]:
    """Return options of asyncpg with additional server settings for the session."""
    return {**options, "server_settings": {**options.get("server_settings", {}), **settings}}


def session_of(options: Mapping[str, Any], process: str, group: str) -> dict[str, Any]:
    """Return options of asyncpg for the sessions of an engine's process.

    `application_name` contains the process and its consumer group. TCP keepalives are set unless `options` has other
    ones. PostgreSQL cuts the name after `LONGEST_NAME` bytes, so the group is at its end.
    """
    given = options.get("server_settings") or {}
    return {**options, "server_settings": {**KEEPALIVES, **given, "application_name": f"{OURS} {process} of {group}"}}


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
                self._connection = await asyncpg.connect(**self._options)
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
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
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
        done, _ = await asyncio.wait({task}, timeout=CUT_GRACE_S)
        if not done:
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()

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
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
