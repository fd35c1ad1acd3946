"""Check for a pooler, such as PgBouncer, between this machine and PostgreSQL."""

from asyncpg import Connection

from engine.postgres.connecting import connect
from engine.postgres.errors import ERRORS
from engine.postgres.pooler import PooledConnection, as_pooled
from orderflow.doctor.finding import Finding, ok
from orderflow.start.connections import postgres_options
from orderflow.start.settings import Settings

POOLER = "PostgreSQL pooler"
_TRIES = 5
_TIMEOUT_S = 2
_PID = "SELECT pg_backend_pid()"


async def check_pooler(connection: Connection, settings: Settings) -> Finding:
    """Find out whether there is a pooler, and whether a session stays with its client between transactions."""
    pooled = as_pooled(connection)
    if pooled is None:
        return ok(POOLER, "none, the connection is direct")
    try:
        other = await connect(**{**postgres_options(settings), "timeout": _TIMEOUT_S})
    except ERRORS:
        return ok(POOLER, "there is one, of unknown pool_mode: it had no second session free")
    try:
        mode = "transaction" if await _session_is_taken(pooled, other) else "session"
    finally:
        other.terminate()
    return ok(POOLER, f"there is one, with pool_mode {mode}")


async def _session_is_taken(connection: PooledConnection, other: Connection) -> bool:
    """Return whether the session of `connection` is given to `other` while it has no transaction.

    It is tried several times, because the pooler may give the session to another program.
    """
    for _ in range(_TRIES):
        first = await connection.fetchval(_PID)
        async with other.transaction():
            taken = await other.fetchval(_PID) == first
            if taken or await connection.fetchval(_PID) != first:
                return True
    return False
