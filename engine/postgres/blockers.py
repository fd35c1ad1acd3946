"""Frees an offset's row from a zombie.

A worker that was frozen in the middle of its transaction holds the row's lock, and no timeout on the server ends it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import structlog
from asyncpg import Connection

from engine.postgres.link import OURS, Link, describe
from engine.telemetry import events

PATIENCE_S = 3.0
"""How long a compare-and-set may wait for its row before whoever holds it is cut off."""
# Only one that waits for its client, looked at in the same statement. Ending one that waits for a standby would make a
# commit visible that is not replicated; one that is at work comes to an end by itself.
# Somebody else may wait before us for the same lock: whoever holds it is behind him.
_TERMINATE = f"""
WITH RECURSIVE blocking (pid) AS (
    SELECT unnest(pg_blocking_pids($1)) UNION SELECT unnest(pg_blocking_pids(blocking.pid)) FROM blocking
)
SELECT pid, pg_terminate_backend(pid) AS done FROM pg_stat_activity
WHERE pid IN (SELECT blocking.pid FROM blocking) AND usename = current_user AND application_name LIKE '{OURS}%'
  AND wait_event = 'ClientRead'
"""


class BlockerWatch:
    """Terminates our own backends that block a compare-and-set while nobody talks to them.

    Anybody else's lock is left alone. `session_of` makes sessions that are recognised as ours.
    """

    def __init__(self, link: Link, patience_s: float = PATIENCE_S) -> None:
        self._link = link
        self._patience_s = patience_s
        self._log = structlog.get_logger()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def over(self, connection: Connection) -> AsyncIterator[None]:
        """Watch the statements run inside on `connection`."""
        pid = connection.get_server_pid()
        timer = asyncio.get_running_loop().call_later(self._patience_s, self._start, pid)
        try:
            yield
        finally:
            timer.cancel()

    def _start(self, pid: int) -> None:
        task = asyncio.create_task(self._terminate(pid), name="blocker-watch")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _terminate(self, pid: int) -> None:
        try:
            async with self._link.use() as connection:
                rows = await connection.fetch(_TERMINATE, pid, timeout=5)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._log.warning(events.OUTAGE_CONTINUES, of="postgres", error=describe(error))
            return
        for row in rows:
            self._log.warning(events.BLOCKER_TERMINATED, backend_pid=row["pid"], done=row["done"])
