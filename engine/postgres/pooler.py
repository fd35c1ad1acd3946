"""A connection through a pooler, such as PgBouncer, that may give each transaction another session of PostgreSQL."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
from asyncpg import Connection

from engine.postgres.silence import WatchedConnection

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
"""A role's `default_transaction_isolation` cannot be changed inside the transaction."""


class PooledConnection(WatchedConnection):
    """Runs each statement in a transaction that begins by making `settings`, which end with it.

    It has to be connected with `statement_cache_size=0`, because a prepared statement stays in the session that it was
    prepared in. COPY makes no transaction of its own. A statement that is not answered in time leaves its transaction
    open, because asyncpg would wait without a limit before it sends ROLLBACK: terminate the connection.
    """

    settings: Mapping[str, str] = {}
    _session_pid = 0
    _asks_for_pid = False

    def get_server_pid(self) -> int:
        """Return the pid of the session that the open transaction has; 0 without one, and before `ask_for_pid`.

        What a pooler says when a client connects is the pid of no session.
        """
        return self._session_pid if not self.is_closed() and self.is_in_transaction() else 0

    async def ask_for_pid(self) -> None:
        """Ask for the session's pid in the open transaction, and at the beginning of every one from now on."""
        self._asks_for_pid = True
        if self.is_in_transaction() and not self._session_pid:
            await self._fetch_pid()

    def announced_pid(self) -> int:
        """Return the pid that was said when this connected."""
        pid: int = super().get_server_pid()
        return pid

    def get_reset_query(self) -> str:
        """Return nothing: a transaction leaves nothing behind, and there is no session to reset."""
        return ""

    async def execute(self, query: str, *args: Any, **more: Any) -> str:
        """See `Connection.execute`. BEGIN, with which asyncpg's own transactions begin too, also makes the settings."""
        if not query.startswith("BEGIN"):
            async with self._a_transaction(**more):
                return await super().execute(query, *args, **more)
        self._session_pid = 0
        begin = _BEGIN if query in {"BEGIN", "BEGIN;"} else query
        tag: str = await super().execute(begin + self._making_settings(), **more)
        if self._asks_for_pid:
            await self._fetch_pid(**more)
        return tag

    async def execute_alone(self, query: str) -> str:
        """Run a statement that must not be in a transaction, such as CREATE DATABASE."""
        tag: str = await super().execute(query)
        return tag

    async def executemany(self, *args: Any, **more: Any) -> None:
        """See `Connection.executemany`."""
        async with self._a_transaction(**more):
            await super().executemany(*args, **more)

    async def fetch(self, *args: Any, **more: Any) -> list[Any]:
        """See `Connection.fetch`."""
        async with self._a_transaction(**more):
            rows: list[Any] = await super().fetch(*args, **more)
            return rows

    async def fetchmany(self, *args: Any, **more: Any) -> list[Any]:
        """See `Connection.fetchmany`."""
        async with self._a_transaction(**more):
            rows: list[Any] = await super().fetchmany(*args, **more)
            return rows

    async def fetchrow(self, *args: Any, **more: Any) -> Any:
        """See `Connection.fetchrow`."""
        async with self._a_transaction(**more):
            return await super().fetchrow(*args, **more)

    async def fetchval(self, *args: Any, **more: Any) -> Any:
        """See `Connection.fetchval`."""
        async with self._a_transaction(**more):
            return await super().fetchval(*args, **more)

    def _making_settings(self) -> str:
        """Return the end of a simple query that makes the settings, so that they cost no round trip of their own."""
        made = (f"set_config({_literal(name)}, {_literal(value)}, true)" for name, value in self.settings.items())
        return f"; SELECT {', '.join(made)}" if self.settings else ""

    async def _fetch_pid(self, **more: Any) -> None:
        self._session_pid = await super().fetchval("SELECT pg_backend_pid()", **more)

    @asynccontextmanager
    async def _a_transaction(self, timeout: float | None = None, **_: Any) -> AsyncIterator[None]:  # noqa: ASYNC109
        """Provide a transaction for one statement, unless one is open."""
        if self.is_in_transaction():
            yield
            return
        try:
            await self.execute(_BEGIN, timeout=timeout)
            yield
            await super().execute("COMMIT", timeout=timeout)
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            if not self.is_closed():
                await super().execute("ROLLBACK", timeout=timeout)
            raise


def _literal(text: str) -> str:
    """Return the text as a literal of SQL, whatever `standard_conforming_strings` is."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"E'{escaped}'"


def as_pooled(connection: Connection) -> PooledConnection | None:
    """Return the connection if it leads through a pooler, else None.

    `isinstance` would not tell: asyncpg answers true for every connection, whichever of its classes is asked for.
    """
    return cast("PooledConnection", connection) if issubclass(type(connection), PooledConnection) else None
