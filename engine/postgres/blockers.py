"""Terminates sessions of frozen workers that hold the lock of an offset's row.

A worker that is frozen in the middle of its transaction keeps the lock, and no timeout of the server ends it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from asyncpg import Connection

from engine.postgres.errors import ERRORS, describe
from engine.postgres.link import Link
from engine.postgres.pooler import as_pooled
from engine.postgres.session import OURS
from engine.telemetry import events

PATIENCE_S = 3.0
"""How long a compare-and-set may wait for its row before the session that holds the lock is terminated."""
# Only a session that waits for its client is terminated; the same statement checks this. Terminating one that waits for
# a standby would make a commit visible that is not replicated. One that is working will end by itself.
# The query is recursive: the session that blocks us may itself wait for the session that holds the lock.
# With a table's name, only a session that waits for a row of this table counts as blocked: before it waits for the
# other transaction, it takes a lock on the row. One that waits for a key that another session has inserted takes none.
_TERMINATE = f"""
WITH RECURSIVE blocking (pid) AS (
    SELECT unnest(pg_blocking_pids($1))
    WHERE $2::text IS NULL
          OR EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND locktype = 'tuple' AND relation = to_regclass($2))
    UNION SELECT unnest(pg_blocking_pids(blocking.pid)) FROM blocking
)
SELECT pid, pg_terminate_backend(pid) AS done FROM pg_stat_activity
WHERE pid IN (SELECT blocking.pid FROM blocking) AND usename = current_user AND application_name LIKE '{OURS}%'
  AND wait_event = 'ClientRead'
"""


class BlockerWatch:
    """Terminates idle sessions of the engine that block a compare-and-set.

    Sessions of other programs are not touched. `session_of` gives the engine's sessions the name by which they are
    found.
    """

    def __init__(self, link: Link, patience_s: float = PATIENCE_S) -> None:
        self._link = link
        self._patience_s = patience_s
        self._log = structlog.get_logger()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def guard(self, connection: Connection, only_for: str | None = None) -> AsyncIterator[None]:
        """If the context lasts longer than the patience, terminate the idle sessions that block `connection`.

        With `only_for` this is done only if it waits for a row of that table.
        """
        if pooled := as_pooled(connection):
            await pooled.ask_for_pid()
        timer = asyncio.get_running_loop().call_later(self._patience_s, self._start, connection, only_for)
        try:
            yield
        finally:
            timer.cancel()

    def _start(self, connection: Connection, only_for: str | None) -> None:
        if connection.is_closed():
            return
        pid = connection.get_server_pid()  # not earlier: behind a pooler each transaction has its own
        task = asyncio.create_task(self._terminate(pid, only_for), name="blocker-watch")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _terminate(self, pid: int, only_for: str | None) -> None:
        try:
            async with self._link.use() as connection:
                rows = await connection.fetch(_TERMINATE, pid, only_for, timeout=5)
        except ERRORS as error:
            self._log.warning(events.OUTAGE_CONTINUES, of="postgres", error=describe(error))
            return
        for row in rows:
            self._log.warning(events.BLOCKER_TERMINATED, backend_pid=row["pid"], done=row["done"])
