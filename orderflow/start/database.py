"""A connection to PostgreSQL for a command that runs once."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from asyncpg import Connection

from engine.postgres.connecting import connect
from engine.postgres.errors import ERRORS, describe
from engine.postgres.link import Link
from orderflow.exits import Failed
from orderflow.progress import told_if_slow
from orderflow.start.connections import postgres_options
from orderflow.start.delays import describe_delay
from orderflow.start.preflight import wait_for_postgres
from orderflow.start.settings import Settings

T = TypeVar("T")
_UNDEFINED = {"42P01", "42703"}
COMMAND_TIMEOUT_S = 60.0
"""The longest time of one statement: a person waits for the command."""


async def with_postgres(settings: Settings, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Wait for PostgreSQL with the current schema, run `work` with a connection, and return its result.

    Raises `Failed` when PostgreSQL fails.
    """
    await wait_for_postgres(settings)
    connection = None
    try:
        connection = await connect(**postgres_options(settings), command_timeout=COMMAND_TIMEOUT_S)
        return await work(connection)
    except ERRORS as error:
        advice = ": a table or a column is missing, `orderflow doctor` says which" if _is_undefined(error) else ""
        raise Failed(f"PostgreSQL failed: {describe(error)}{advice}") from None
    finally:
        if connection is not None:
            connection.terminate()


async def ask_postgres(settings: Settings, query: Callable[[Connection], Awaitable[T]]) -> T:
    """Call `with_postgres` for a query, and tell a person who waits long for the answer what is waited for."""

    async def told(connection: Connection) -> T:
        async with telling_wait(settings, connection):
            return await query(connection)

    return await with_postgres(settings, told)


@asynccontextmanager
async def telling_wait(settings: Settings, waiting: Connection) -> AsyncIterator[None]:
    """While the block waits long for PostgreSQL on a connection, say so, and which session holds the lock."""
    pid = waiting.get_server_pid()

    async def detail() -> str | None:
        return await describe_delay(settings, pid=pid)

    async with told_if_slow(f"waiting for PostgreSQL on {settings.postgres_address}", detail):
        yield


async def change_postgres(settings: Settings, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Run `work`, which makes a change that a standby must have, with a connection of its own, and return its result.

    Raises `Failed` after `COMMAND_TIMEOUT_S`. Then, and when it is interrupted, the connection is closed: if PostgreSQL
    were asked to cancel a COMMIT that waits for a standby, the change would be visible although no standby has it.
    """
    link = Link(postgres_options(settings), COMMAND_TIMEOUT_S)
    try:
        async with link.use() as connection:
            try:
                async with telling_wait(settings, connection):
                    return await link.within_deadline(work(connection))
            except TimeoutError:
                raise Failed(
                    f"PostgreSQL did not confirm the change within {COMMAND_TIMEOUT_S:g} s. It may still take effect: "
                    "`orderflow doctor` says what commits wait for"
                ) from None
    finally:
        await link.close()


def _is_undefined(error: Exception) -> bool:
    """Return whether a table or a column is missing, although the schema's version is current."""
    return getattr(error, "sqlstate", None) in _UNDEFINED
