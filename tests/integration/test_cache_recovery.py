"""Whatever keeps one from finding out which server Redis is, what a crash left undone is caught up with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import attrs
import pytest
from redis.asyncio import Redis

from engine.actors.identity import Identity
from engine.postgres.link import Link
from handlers.cache import OrderCache
from handlers.cache_bookkeeping import PendingChange, note_change
from handlers.cache_servers import OneServer
from handlers.catch_up import CatchUp
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import postgres_options, redis_client
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.stored_orders import make_order, store_order

TTL_S = 3600
# What a worker of the build before leaves when it dies, or when Redis is away.
_UNDONE = """
INSERT INTO batches (batch_id, consumer_group, topic, worker, host, sources, consumed_at, validated_at, committed_at,
                     messages, inserted, changed, unchanged, rejected, changed_keys)
VALUES ($1, 'group', $3, 'worker', 'host', '[]', now(), now(), clock_timestamp() - interval '1 minute',
        1, 0, 1, 0, 0, $2)
"""


@pytest.fixture
async def without_info(redis: Redis, settings: Settings) -> AsyncIterator[Redis]:
    """Provide a client whose user may do anything but ask the server for information."""
    name = f"limited-{uuid4().hex}"
    allowed = {"keys": ["*"], "categories": ["+@all"], "commands": ["-info"]}
    await redis.acl_setuser(name, enabled=True, passwords=["+secret"], **allowed)
    async with redis_client(attrs.evolve(settings, redis_username=name, redis_password="secret")) as client:
        yield client
    await redis.acl_deluser(name)


async def caught_up(redis: Redis, settings: Settings, database: asyncpg.Connection, seed: int = 8) -> None:
    """Note a change and wait until the cache has followed it."""
    order = make_order(OrderGenerator(seed=seed))
    body = await store_order(database, order)
    await note_change(database, PendingChange(uuid4(), uuid4(), [order.order_uid]))
    await database.execute("UPDATE cache_pending SET committed_at = now() - interval '1 minute'")
    async with catching_up(redis, settings):
        assert await eventually(lambda: redis.get(f"order:{order.order_uid}"), bool) == body


@asynccontextmanager
async def catching_up(redis: Redis, settings: Settings) -> AsyncIterator[None]:
    """Have a worker of the topic `orders` bring into the cache what is left undone."""
    link = Link(postgres_options(settings))
    catch_up = CatchUp(OrderCache(OneServer(redis), TTL_S), link, TTL_S, Identity("group", "orders", "worker"))
    running = asyncio.create_task(catch_up.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await link.close()


async def test_what_a_worker_of_the_build_before_left_undone_is_caught_up(
    redis: Redis, settings: Settings, database: asyncpg.Connection
) -> None:
    """That of our own topic: another pipeline's rows, and what they name, are none of ours."""
    ours, theirs = make_order(generator := OrderGenerator(seed=8)), make_order(generator)
    body = await store_order(database, ours)
    await store_order(database, theirs)
    await database.execute(_UNDONE, batch_id := uuid4(), [ours.order_uid], "orders")
    await database.execute(_UNDONE, uuid4(), [theirs.order_uid], "another")
    async with catching_up(redis, settings):
        assert await eventually(lambda: redis.get(f"order:{ours.order_uid}"), bool) == body
        await eventually(lambda: database.fetchval("SELECT count(*) FROM cached_batches"), (1).__eq__)
    left = await database.fetch("SELECT topic, changed_keys FROM batches WHERE cached_at IS NULL")
    assert [tuple(row) for row in left] == [("another", [theirs.order_uid])]
    assert await redis.get(f"order:{theirs.order_uid}") is None
    assert await database.fetchval("SELECT batch_id FROM cached_batches") == batch_id
    assert await database.fetchval("SELECT count(*) FROM cache_pending") == 0


async def test_a_redis_that_hides_which_server_it_is(
    without_info: Redis, settings: Settings, database: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told of, with what to do."""
    await caught_up(without_info, settings, database)
    assert "cache_server_hidden" in capsys.readouterr().out


async def test_a_recovery_that_fails(redis: Redis, settings: Settings, database: asyncpg.Connection) -> None:
    """Its own trouble in PostgreSQL is not that of the catching up."""
    await database.execute("ALTER TABLE cache_servers RENAME TO gone")
    await caught_up(redis, settings, database)


async def test_a_redis_that_is_another_server(redis: Redis, settings: Settings, database: asyncpg.Connection) -> None:
    """It is known from then on, in two columns: an engine of an older build compares the first one alone."""
    said = await redis.info("server", "replication")
    known = "SELECT run_id, replication_id FROM cache_servers"
    await caught_up(redis, settings, database)
    assert tuple(await database.fetchrow(known)) == (said["run_id"], said["master_replid"])
    await database.execute("UPDATE cache_servers SET replication_id = 'of an older primary'")
    await caught_up(redis, settings, database, seed=9)
    assert tuple(await database.fetchrow(known)) == (said["run_id"], said["master_replid"])
