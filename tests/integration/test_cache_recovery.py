"""Whatever keeps one from finding out which server Redis is, what a crash left undone is caught up with."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import attrs
import pytest
from redis.asyncio import Redis

from engine.postgres.link import Link
from handlers.cache import OrderCache
from handlers.catch_up import CatchUp
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import postgres_options, redis_client
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.stored_orders import make_order, store_order

TTL_S = 3600
_UNDONE = """
INSERT INTO batches (batch_id, consumer_group, topic, worker, host, sources, consumed_at, validated_at, committed_at,
                     messages, inserted, changed, unchanged, rejected, changed_keys)
VALUES ($1, 'group', 'orders', 'worker', 'host', '[]', now(), now(), clock_timestamp() - interval '1 minute',
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


async def caught_up(redis: Redis, settings: Settings, database: asyncpg.Connection) -> None:
    """Leave a batch undone and wait until the cache has followed it."""
    order = make_order(OrderGenerator(seed=8))
    body = await store_order(database, order)
    await database.execute(_UNDONE, uuid4(), [order.order_uid])
    link = Link(postgres_options(settings))
    running = asyncio.create_task(CatchUp(OrderCache(redis, TTL_S), link, TTL_S).run())
    assert await eventually(lambda: redis.get(f"order:{order.order_uid}"), bool) == body
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await link.close()


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
    """It is known from then on."""
    await caught_up(redis, settings, database)
    known = await database.fetchval("SELECT run_id FROM cache_servers")
    assert known == (await redis.info("server"))["run_id"]
