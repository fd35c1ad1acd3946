"""Orders of one database that come from several topics: their offsets do not compare, their timestamps do."""

import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import attrs
import pytest
from msgspec import json
from redis.asyncio import Redis

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import consumed, eventually
from tests.support.isolation import own_topics
from tests.support.letters import message, stored_version
from tests.support.old_orders import forget_topics
from tests.support.programs import Programs, Running
from tests.support.topic import send

PARTITION = 1
HOUR_MS = 3_600_000


@pytest.fixture
async def other(settings: Settings, environment: dict[str, str]) -> AsyncIterator[Settings]:
    """Provide the settings of the same engine, group and database, with another topic."""
    async with own_topics(environment) as names:
        yield attrs.evolve(settings, kafka_topic=names["KAFKA_TOPIC"], kafka_dlq_topic=names["KAFKA_DLQ_TOPIC"])


async def start(orderflow: Programs, settings: Settings) -> Running:
    """Start an engine with one worker, which consumes the topic of `settings`."""
    topics = {"KAFKA_TOPIC": settings.kafka_topic, "KAFKA_DLQ_TOPIC": settings.kafka_dlq_topic}
    engine = await orderflow.start("engine", "--workers", "1", **topics)
    await engine.wait_for("partition_opened", count=4)
    return engine


async def store_first(
    orderflow: Programs, settings: Settings, orders: OrderGenerator, database: asyncpg.Connection
) -> dict[str, Any]:
    """Let an engine store an order from the twentieth message of its partition, and return it."""
    *before, order = [orders.order() for _ in range(20)]
    engine = await start(orderflow, settings)
    await send(settings, *map(message, [*before, order]), partition=PARTITION)
    await consumed(database, 20)
    assert await engine.stop() == 0
    return order


async def source(database: asyncpg.Connection, order: dict[str, Any]) -> tuple[str | None, int, int]:
    """Return the topic, partition and offset that the stored order names."""
    row = await database.fetchrow(
        "SELECT source_topic, source_partition, source_offset FROM orders WHERE order_uid = $1", order["order_uid"]
    )
    assert row is not None
    return tuple(row)


async def test_a_change_in_another_topic_is_applied_whatever_its_offset(
    orderflow: Programs,
    orders: OrderGenerator,
    settings: Settings,
    other: Settings,
    database: asyncpg.Connection,
    redis: Redis,
) -> None:
    """It is stored, cached and told; and so is the next one, once the topic has been renamed back."""
    order = await store_first(orderflow, settings, orders, database)
    assert await source(database, order) == (settings.kafka_topic, PARTITION, 19)

    engine = await start(orderflow, other)
    assert await send(other, message(order, sm_id=1), partition=PARTITION) == [(PARTITION, 0)]
    await engine.wait_for("batch_committed", changed=1)
    assert await stored_version(database, order) == 1
    assert await source(database, order) == (other.kafka_topic, PARTITION, 0)
    await eventually(
        lambda: redis.get(f"order:{order['order_uid']}"), lambda body: body and json.decode(body)["sm_id"] == 1
    )
    assert await engine.stop() == 0

    engine = await start(orderflow, settings)
    await send(settings, message(order, sm_id=2), partition=PARTITION)
    await engine.wait_for("batch_committed", changed=1)
    assert await stored_version(database, order) == 2
    assert await source(database, order) == (settings.kafka_topic, PARTITION, 20)
    await send(settings, message(order, sm_id=2), partition=PARTITION)
    await engine.wait_for("batch_committed", unchanged=1)
    assert await source(database, order) == (settings.kafka_topic, PARTITION, 21)
    told = json.decode((await orderflow.run("trace", order["order_uid"], "--json")).stdout)
    assert (told["source"]["topic"], told["source"]["came_as"]) == (settings.kafka_topic, "repeat")


async def test_an_order_that_names_no_topic_is_of_the_one_that_was_consumed_before(
    orderflow: Programs, orders: OrderGenerator, settings: Settings, other: Settings, database: asyncpg.Connection
) -> None:
    """There the later offset wins, though the producer's clock went back; in another topic the later time does."""
    order = await store_first(orderflow, settings, orders, database)
    await forget_topics(database)
    assert await source(database, order) == (None, PARTITION, 19)

    engine = await start(orderflow, settings)
    an_hour_ago = round(time.time() * 1000) - HOUR_MS
    await send(settings, message(order, sm_id=1), partition=PARTITION, timestamp_ms=an_hour_ago)
    await engine.wait_for("batch_committed", changed=1)
    assert await source(database, order) == (settings.kafka_topic, PARTITION, 20)
    assert await engine.stop() == 0

    await forget_topics(database)
    engine = await start(orderflow, other)
    await send(other, message(order, sm_id=2), partition=PARTITION)
    await engine.wait_for("batch_committed", changed=1)
    assert await stored_version(database, order) == 2
    assert await source(database, order) == (other.kafka_topic, PARTITION, 0)


async def test_a_message_without_a_timestamp_is_the_oldest_and_its_time_is_told_as_unknown(
    orderflow: Programs, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """Not as 1970, whose first instant a producer may have meant: that one replaces it."""
    order = orders.order()
    uid = order["order_uid"]
    engine = await start(orderflow, settings)
    await send(settings, message(order, sm_id=1), partition=3, timestamp_ms=-1)
    await engine.wait_for("batch_committed", inserted=1)
    told = json.decode((await orderflow.run("trace", uid, "--json")).stdout)
    assert (told["source"]["produced_at"], told["steps"][0]["at"]) == (None, None)
    assert "  published  unknown" in (await orderflow.run("trace", uid)).lines

    await send(settings, message(order, sm_id=2), partition=0, timestamp_ms=0)
    await engine.wait_for("batch_committed", changed=1)
    assert await stored_version(database, order) == 2
    told = json.decode((await orderflow.run("trace", uid, "--json")).stdout)
    assert told["source"]["produced_at"] == "1970-01-01T00:00:00Z"
    await send(settings, message(order, sm_id=3), partition=2, timestamp_ms=-1)
    await consumed(database, 3)
    assert await stored_version(database, order) == 2

    await send(settings, (b"key", b"no JSON"), partition=2, timestamp_ms=-1)
    await consumed(database, 4)
    [letter] = json.decode((await orderflow.run("dlq", "list", "--json")).stdout)
    place = f"2:{letter['offset']}"
    shown = json.decode((await orderflow.run("dlq", "show", place, "--json")).stdout)
    assert shown["produced_at"] is None
    assert "produced_at: unknown" in (await orderflow.run("dlq", "show", place)).lines
