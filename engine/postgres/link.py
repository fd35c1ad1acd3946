"""A connection to PostgreSQL that is opened when needed and dropped after trouble, and what an error means."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from asyncpg import Connection

T = TypeVar("T")

CUT_GRACE_S = 0.5
"""How long work on a connection that was cut may take to notice."""
_DATA_CLASSES = frozenset({"22", "23", "54"})
"""SQLSTATE classes that blame the data: data exception, integrity constraint violation, program limit exceeded."""
_QUICK_RETRY = frozenset({"40001", "40P01"})
_FATAL = frozenset({"28000", "28P01", "3D000", "42501"})
LONGEST_NAME = 63
"""How many bytes PostgreSQL keeps of an identifier."""
KEEPALIVES: Mapping[str, str] = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
"""Settings, by which a server notices within seconds that a client's machine is gone, and frees its locks."""
OURS = "orderflow"
"""What `application_name` begins with in every session of ours: by it a zombie's is told from anybody else's."""
RESTED_S = 5.0
ANSWERS_WITHIN_S = 5.0


class Outage(Exception):
    """PostgreSQL cannot do the work now, but may later. The message holds no data."""


_TROUBLE = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, ssl.SSLError, Outage)


def refuses_data(error: BaseException) -> bool:
    """Whether PostgreSQL, or asyncpg's encoder, refused what was written rather than the act of writing."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _DATA_CLASSES
    return isinstance(error, asyncpg.exceptions.DataError)


def is_outage(error: BaseException) -> bool:
    """Whether waiting may help: the connection, a lock, the disk, the server's mode or a missing table."""
    if isinstance(error, asyncpg.PostgresError):
        return not refuses_data(error)
    return isinstance(error, _TROUBLE)


def is_momentary(error: BaseException) -> bool:
    """Whether trying again at once is right: a deadlock or a serialization failure."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _QUICK_RETRY


def is_refusal_to_connect(error: BaseException) -> bool:
    """Whether PostgreSQL answers but does not let us in: wrong password, no such database, no permission."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in _FATAL


def describe(error: BaseException) -> str:
    """Return a short description that holds no row's data: the kind, and PostgreSQL's own code."""
    sqlstate = getattr(error, "sqlstate", None)
    return f"{type(error).__name__} ({sqlstate})" if sqlstate else type(error).__name__


def describe_refusal(error: BaseException) -> str:
    """Return `describe`, and the names in the schema that refused data has to do with: no row's data either.

    PostgreSQL's message, detail and context quote the row, and are left out. What is too long to be a name is, too.
    """
    names = ((part, getattr(error, f"{part}_name", None)) for part in ("table", "column", "constraint"))
    told = [f"{part} {name}" for part, name in names if name and len(name.encode()) <= LONGEST_NAME]
    return f"{describe(error)}: {', '.join(told)}" if told else describe(error)


async def fetch_time_s(connection: Any) -> float:
    """Return what the database's clock says, in seconds since the epoch: the one clock that all machines share."""
    now_s: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    return now_s


def finding_by_key(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of asyncpg for a session that finds rows by their keys alone, however small a table is at first.

    A session keeps the plans of its statements, and of its foreign keys' checks. One that was made while a table was
    empty reads all of the table, and goes on to do so while the table grows, until PostgreSQL's next analyze.
    """
    return with_server_settings(options, enable_seqscan="off")


def with_server_settings(options: Mapping[str, Any], **settings: str) -> dict[str, Any]:
    """Return options of asyncpg with more settings for the session."""
    return {**options, "server_settings": {**options.get("server_settings", {}), **settings}}


def session_of(options: Mapping[str, Any], process: str, group: str) -> dict[str, Any]:
    """Return options of asyncpg for the sessions of an engine's process, whoever wrote `options`.

    They have a name that tells the process and its consumer group, and keepalives unless `options` have others.
    PostgreSQL cuts a name that is longer than `LONGEST_NAME`: the group stands at its end.
    """
    given = options.get("server_settings") or {}
    return {**options, "server_settings": {**KEEPALIVES, **given, "application_name": f"{OURS} {process} of {group}"}}


class Link:
    """One connection, used by one caller at a time, opened anew after any error.

    With `idle_s` it is closed when nobody has used it for so many seconds.
    """

    def __init__(self, options: dict[str, Any], deadline_s: float = 60.0, idle_s: float | None = None) -> None:
        self._options = options
        self._deadline_s = deadline_s
        self._idle_s = idle_s
        self._idle: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._rests_since_s = 0.0
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Connection]:
        """Lend the connection. It is dropped if an exception leaves it in the middle of something, or is an outage.

        A session may stay what an outage made of it, read-only for one, when new ones are well again.
        A statement that timed out is in the middle of something too: asyncpg would let the next one wait, without end,
        for the server to confirm that it was cancelled.
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
                self._rests_since_s = time.monotonic()
                if self._idle_s is not None and self._idle is None:
                    self._idle = asyncio.create_task(self._close_when_idle(self._idle_s), name="idle-connection")

    async def _close_when_idle(self, idle_s: float) -> None:
        left_s = idle_s
        while left_s > 0:
            await asyncio.sleep(left_s)
            async with self._lock:
                left_s = self._rests_since_s + idle_s - time.monotonic()
                if left_s <= 0:
                    self._idle = None
                    await self._close()

    async def _is_alive(self, connection: Connection) -> bool:
        """Whether a connection can be used. One that has rested is asked: the network may have forgotten it."""
        if connection.is_closed() or time.monotonic() - self._rests_since_s < RESTED_S:
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
        """Await `work` on the lent connection; past the deadline the connection is cut, never cancelled mid-COPY.

        Raises `TimeoutError` then.
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
        """End work by cutting its connection. Work that waits for something else just then is cancelled."""
        self.drop()
        done, _ = await asyncio.wait({task}, timeout=CUT_GRACE_S)
        if not done:
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()

    def drop(self) -> None:
        """Cut the connection. Safe at any time."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close the connection politely, if there is one."""
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
