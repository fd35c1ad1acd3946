"""Brings a database to the newest schema: creates it if it is missing, and applies migrations one command at a time.

dbmate alone does not take turns: of several that start at once, all but one fail on the same database or table.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import asyncpg
from asyncpg import Connection

from engine.postgres.connecting import connect
from engine.postgres.errors import ERRORS, describe
from engine.postgres.pooler import as_pooled
from orderflow.exits import CannotStart, Failed
from orderflow.operating.dbmate import DatabaseInUse
from orderflow.progress import say
from orderflow.start.connections import postgres_options
from orderflow.start.schema import ENCODING, Schema, quoted, read_schema
from orderflow.start.settings import Settings
from orderflow.start.waiting import RETRY_DELAY_S

_LOCK = int.from_bytes(b"orderflo")
"""The key of the advisory lock of the database, which the command that applies migrations holds."""
_PING = "SHOW transaction_isolation"
"""A statement that takes no snapshot."""
PING_S = 10.0
_ANSWERS_WITHIN_S = 30.0
_IN_USE_DELAY_S = 1.0
_MAINTENANCE = ("postgres", "template1")
_OF_POOLERS = (asyncpg.ProtocolViolationError, asyncpg.ConnectionDoesNotExistError)
_EXISTS = {"42P04", "23505"}
_LATER = {"55006", "25006"}
"""The template is in use; the server is still a standby."""
# The lock's session is idle in its transaction while dbmate works. PostgreSQL 17 also limits a whole transaction.
_UNLIMITED = """
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')
"""


async def is_database_missing(settings: Settings, error: BaseException) -> bool:
    """Return whether a connection failed because the database does not exist.

    PgBouncer hides that behind errors of its own, and repeats them for a while.
    """
    if not isinstance(error, _OF_POOLERS):
        return isinstance(error, asyncpg.InvalidCatalogNameError)
    connection = await _maintenance_connection(settings)
    if connection is None:
        return False
    try:
        found = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", settings.postgres_database)
    except ERRORS:
        return False
    finally:
        connection.terminate()
    return found is None


async def create_database(settings: Settings) -> bool:
    """Create the missing database, which stores text in UTF-8. Another command may create it at the same time.

    Returns False if that may succeed later. Raises `CannotStart` if it cannot succeed.
    """
    name, user = settings.postgres_database, settings.postgres_user
    missing = f"PostgreSQL has no database {name!r}"
    connection = await _maintenance_connection(settings)
    if connection is None:
        raise CannotStart(f"{missing}: create it, or check POSTGRES_DATABASE")
    try:
        encoding = await connection.fetchval(
            "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'template1'"
        )
        options = "" if encoding == ENCODING else f" ENCODING '{ENCODING}' LOCALE 'C' TEMPLATE template0"
        pooled = as_pooled(connection)
        execute = connection.execute if pooled is None else pooled.execute_alone
        await execute(f"CREATE DATABASE {quoted(name)}{options}")
    except asyncpg.PostgresError as error:
        if error.sqlstate in _EXISTS:
            return True
        if error.sqlstate in _LATER:
            return False
        if error.sqlstate == asyncpg.InsufficientPrivilegeError.sqlstate:
            raise CannotStart(
                f"{missing}, and {user!r} may not create it: run as a superuser "
                f"`CREATE DATABASE {quoted(name)} OWNER {quoted(user)}`, or check POSTGRES_DATABASE"
            ) from None
        raise Failed(f"creating the database {name!r} failed: {describe(error)}") from None
    except ERRORS:
        return False
    finally:
        connection.terminate()
    say(f"Created the database {name!r}")
    return True


async def _maintenance_connection(settings: Settings) -> Connection | None:
    for name in _MAINTENANCE:
        with suppress(*ERRORS):
            connection: Connection = await connect(**{**postgres_options(settings), "database": name})
            return connection
    return None


async def migrate_alone(
    connection: Connection, schema: Schema, timeout_s: float, apply: Callable[[], Coroutine[Any, Any, None]]
) -> Schema:
    """Call `apply` while no other command does, unless nothing is missing. Returns the schema afterwards.

    If it raises `DatabaseInUse`, it is called again for up to `timeout_s`.

    The lock belongs to a transaction, because a session has no connection of its own behind a pooler. A command that
    does not get it asks again: a waiting one would take a pooler's connection from the one that it waits for.

    Raises `Failed` when another command is not done within `timeout_s`, and `CannotStart` if the role cannot apply
    migrations.
    """
    deadline, reported = time.monotonic() + timeout_s, False
    while schema.missing:
        if problem := schema.unfit or schema.unmigratable:
            raise CannotStart(problem)
        transaction = connection.transaction(isolation="read_committed")
        await transaction.start()
        if await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
            schema = await read_schema(connection)
            if schema.missing:
                # After the queries of read_schema, whose last one keeps its snapshot until the next statement:
                # CREATE INDEX CONCURRENTLY waits for the end of every transaction that has one, also of this one.
                await connection.execute(_UNLIMITED)
                await _while_connected(connection, _once_unused(apply, timeout_s))
                schema = await _read_again(connection)
            return schema
        await transaction.rollback()
        if time.monotonic() + RETRY_DELAY_S > deadline:
            raise Failed(f"another `orderflow migrate` is not done yet (waited {timeout_s:g} s): run it again")
        if not reported:
            say(f"Waiting for another `orderflow migrate`, {timeout_s:g} s at most")
            reported = True
        await asyncio.sleep(RETRY_DELAY_S)
        schema = await read_schema(connection)
    return schema


async def _once_unused(apply: Callable[[], Coroutine[Any, Any, None]], timeout_s: float) -> None:
    deadline, reported = time.monotonic() + timeout_s, False
    while True:
        try:
            return await apply()
        except DatabaseInUse as refusal:
            if time.monotonic() + _IN_USE_DELAY_S > deadline:
                raise
            if not reported:
                say(f"Waiting for older engines to stop, {timeout_s:g} s at most: {refusal}")
                reported = True
        await asyncio.sleep(_IN_USE_DELAY_S)


async def _while_connected(connection: Connection, work: Coroutine[Any, Any, None]) -> None:
    """Await `work`, which may take hours, and cancel it when PostgreSQL no longer answers on `connection`.

    dbmate has no time-out: without an answer from the network it would wait without end.
    """
    task = asyncio.create_task(work, name="dbmate")
    try:
        while not (await asyncio.wait({task}, timeout=PING_S))[0]:
            await connection.execute(_PING, timeout=_ANSWERS_WITHIN_S)
        task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _read_again(connection: Connection) -> Schema:
    after = await read_schema(connection)
    if after.missing:
        raise Failed(f"dbmate has not applied {', '.join(after.missing)}: run `orderflow doctor`")
    return after
