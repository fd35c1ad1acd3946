"""Who is cut off when a lock is wanted: our own sessions whose client is silent, and nobody else's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from engine.postgres.blockers import BlockerWatch
from engine.postgres.link import Link
from engine.postgres.session import session_of
from orderflow.start.connections import postgres_options
from orderflow.start.settings import Settings
from tests.support.eventually import eventually

PATIENCE_S = 0.2
Connect = Callable[..., Awaitable[asyncpg.Connection]]
_LOCK = "SELECT FROM wanted FOR UPDATE"
_SESSION = """
SELECT current_setting('application_name'), current_setting('tcp_keepalives_idle'),
       current_setting('tcp_keepalives_interval'), current_setting('tcp_keepalives_count')
"""


@pytest.fixture
async def connect(settings: Settings) -> AsyncIterator[Connect]:
    """Open sessions with a name, as `session_of` makes them unless the test wants another one."""
    async with AsyncExitStack() as stack:

        async def open_session(name: str | None = None) -> asyncpg.Connection:
            options: dict[str, Any] = session_of(postgres_options(settings), "worker-0", "a group")
            if name is not None:
                options["server_settings"] = {"application_name": name}
            connection = await asyncpg.connect(**options)
            stack.callback(connection.terminate)
            return connection

        yield open_session


@pytest.fixture
async def watch(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[BlockerWatch]:
    await database.execute("CREATE TABLE wanted AS SELECT 1 AS row")
    link = Link(postgres_options(settings))
    yield BlockerWatch(link, PATIENCE_S)
    await link.close()


async def lock(connection: asyncpg.Connection) -> None:
    await connection.execute("BEGIN")
    await connection.execute(_LOCK)


async def wait_for_lock(
    watch: BlockerWatch, heir: asyncpg.Connection, sql: str = _LOCK, only_for: str | None = None
) -> bool:
    """Return whether the lock was had within a second."""
    await heir.execute("SET lock_timeout = '1s'")
    try:
        async with watch.guard(heir, only_for):
            await heir.execute(sql)
    except asyncpg.LockNotAvailableError:
        return False
    return True


async def test_a_session_of_ours_whose_client_is_silent_is_ended(connect: Connect, watch: BlockerWatch) -> None:
    """In the middle of its transaction; whoever waits for the lock has it then."""
    zombie, heir = await connect(), await connect()
    await lock(zombie)
    assert await wait_for_lock(watch, heir)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
        await zombie.execute("COMMIT")


async def test_whoever_waits_for_rows_of_one_table_ends_nobody_who_has_inserted_the_same_key(
    connect: Connect, watch: BlockerWatch, database: asyncpg.Connection
) -> None:
    """That is another worker between two of its statements. A session with the lock of a row is ended as ever."""
    insert = "INSERT INTO keyed VALUES (1)"
    await database.execute("CREATE TABLE keyed (key int PRIMARY KEY)")
    other, zombie, heir = await connect(), await connect(), await connect()
    await other.execute("BEGIN")
    await other.execute(insert)
    assert not await wait_for_lock(watch, heir, insert, only_for="wanted")
    await other.execute("COMMIT")
    await lock(zombie)
    assert await wait_for_lock(watch, heir, only_for="wanted")


async def test_a_session_of_ours_that_is_at_work_is_left_alone_until_it_waits_for_its_client(
    connect: Connect, watch: BlockerWatch, database: asyncpg.Connection
) -> None:
    """It may be about to commit: what it waits for would be broken off, and the commit be seen."""
    at_work, heir = await connect(), await connect()
    await lock(at_work)
    work = asyncio.create_task(at_work.execute("SELECT pg_sleep(2)"))
    waits_for = "SELECT wait_event FROM pg_stat_activity WHERE pid = $1"
    await eventually(lambda: database.fetchval(waits_for, at_work.get_server_pid()), "PgSleep".__eq__)
    assert not await wait_for_lock(watch, heir)
    await work
    assert await wait_for_lock(watch, heir)


async def test_a_session_of_somebody_else_is_waited_for(connect: Connect, watch: BlockerWatch) -> None:
    """However silent its client is."""
    person, heir = await connect("psql"), await connect()
    await lock(person)
    assert not await wait_for_lock(watch, heir)
    await person.execute("COMMIT")
    assert await wait_for_lock(watch, heir)


async def test_a_session_has_its_name_and_keepalives_whatever_its_options_are(settings: Settings) -> None:
    """Nobody has to think of them. Other keepalives are kept, and a long group takes no room from the rest."""
    plain = {**postgres_options(settings), "server_settings": None}
    own = {**plain, "server_settings": {"application_name": "mine", "tcp_keepalives_idle": "77"}}
    for options, idle in ((plain, "5"), (own, "77")):
        connection = await asyncpg.connect(**session_of(options, "worker-12", "g" * 100))
        try:
            found = await connection.fetchrow(_SESSION)
        finally:
            await connection.close()
        assert found is not None
        name, *keepalives = found
        assert name.startswith("orderflow worker-12 of ggg")
        assert keepalives == [idle, "2", "3"]
