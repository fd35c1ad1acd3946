"""Says what a session that takes long is doing: which other one holds its lock, or how far an index is."""

from asyncpg import Connection

from engine.postgres.connecting import connect
from engine.postgres.errors import ERRORS
from orderflow.start.connections import postgres_options
from orderflow.start.settings import Settings
from orderflow.terminal import printable

_HOLDER = """
SELECT holder.pid, holder.application_name, holder.usename, holder.state
FROM pg_stat_activity AS waiting
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocking(pid)
JOIN pg_stat_activity AS holder ON holder.pid = blocking.pid
WHERE waiting.datname = current_database() AND (waiting.pid = $1 OR waiting.application_name = $2) LIMIT 1
"""
_INDEX = """
SELECT building.phase, 100 * building.blocks_done / nullif(building.blocks_total, 0) AS percent
FROM pg_stat_progress_create_index AS building JOIN pg_stat_activity AS activity USING (pid)
WHERE activity.datname = current_database() AND (activity.pid = $1 OR activity.application_name = $2) LIMIT 1
"""
_TIMEOUT_S = 2.0


async def describe_delay(settings: Settings, *, pid: int = 0, application: str = "") -> str | None:
    """Return what the session with this process id, or a session with this name, waits for or does.

    It asks with a connection of its own. Returns None if there is nothing to say, or if it cannot be found out.
    """
    try:
        connection = await connect(**postgres_options(settings), command_timeout=_TIMEOUT_S)
    except ERRORS:
        return None
    try:
        return await _delay(connection, pid, application)
    except ERRORS:
        return None
    finally:
        connection.terminate()


async def _delay(connection: Connection, *session: int | str) -> str | None:
    if holder := await connection.fetchrow(_HOLDER, *session):
        known = [printable(holder[name]) for name in ("application_name", "usename", "state") if holder[name]]
        return f"process {holder['pid']} ({', '.join(known)}) holds the lock"
    if index := await connection.fetchrow(_INDEX, *session):
        return str(index["phase"]) if index["percent"] is None else f"{index['phase']}, {index['percent']} %"
    return None
