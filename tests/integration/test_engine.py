"""The engine on real Kafka, PostgreSQL and Redis: what is published arrives, once, whole, and in its newest version."""

import asyncio
from typing import Any

import asyncpg
import pytest
from msgspec import json
from redis.asyncio import Redis

from handlers.body import body_belongs_to
from handlers.reader import fetch_bodies
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import consumed, eventually
from tests.support.odd_headers import send_odd
from tests.support.programs import Programs, Running
from tests.support.topic import receive, send


@pytest.fixture
async def engine(orderflow: Programs) -> Running:
    """Start an engine with two workers that have opened all partitions."""
    running = await orderflow.start("engine", "--workers", "2")
    await running.wait_for("worker_started", count=2)
    await running.wait_for("partition_opened", count=4)
    return running


@pytest.fixture
def orders() -> OrderGenerator:
    """Make valid orders."""
    return OrderGenerator(seed=7)


async def settled(engine: Running, *uids: str) -> None:
    """Wait until the log names all of `uids` as committed."""
    async with asyncio.timeout(20):
        while not set(uids) <= logged_uids(engine):
            await engine.wait_for("orders_committed", count=len(engine.seen("orders_committed")) + 1)


def logged_uids(engine: Running) -> set[str]:
    return {uid for line in engine.seen("orders_committed") for uid in line["order_uids"]}


async def cached(redis: Redis, uid: str) -> bytes:
    """Return what the cache holds of an order, waiting until it holds something."""
    body = await eventually(lambda: redis.get(f"order:{uid}"), lambda found: found is not None)
    assert isinstance(body, bytes)
    return body


def message(order: dict[str, Any]) -> tuple[bytes, bytes]:
    return order["order_uid"].encode(), json.encode(order)


async def test_a_published_order_is_stored_cached_and_logged(
    engine: Running, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection, redis: Redis
) -> None:
    """Every field comes back as published, in PostgreSQL's relations and in the cached bytes alike."""
    order = orders.order()
    uid = order["order_uid"]
    [(partition, offset)] = await send(settings, message(order))
    await settled(engine, uid)

    body = await cached(redis, uid)
    assert (await fetch_bodies(database, [uid]))[uid] == body
    assert body_belongs_to(body, uid)
    answer = json.decode(body)
    assert list(answer)[-2:] == ["created_at", "updated_at"]
    assert {name: answer[name] for name in order} == order
    assert 0 < await redis.ttl(f"order:{uid}") <= settings.redis_ttl_s

    row = await database.fetchrow("SELECT * FROM orders WHERE order_uid = $1", uid)
    assert row is not None
    assert (row["source_partition"], row["source_offset"]) == (partition, offset)
    payment = await database.fetchrow("SELECT * FROM payments WHERE order_uid = $1", uid)
    delivery = await database.fetchrow("SELECT * FROM deliveries WHERE order_uid = $1", uid)
    assert payment is not None
    assert delivery is not None
    assert dict(payment) == {"order_uid": uid, **order["payment"]}
    assert dict(delivery) == {"order_uid": uid, **order["delivery"]}

    [line] = [line for line in engine.seen("orders_committed") if uid in line["order_uids"]]
    assert line["batch_id"] == str(row["batch_id"])
    assert (line["topic"], line["partition"], line["offset"]) == (settings.kafka_topic, partition, offset)
    assert line["worker"] in {"worker-0", "worker-1"}
    assert await engine.stop() == 0


async def test_the_last_message_wins_whole(
    engine: Running, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection, redis: Redis
) -> None:
    """A change replaces the order and all its items and moves updated_at alone; an equal repeat does nothing."""
    first = orders.order()
    uid = first["order_uid"]
    other_items = orders.order()["items"]
    second = {**first, "items": other_items, "locale": "xx"}
    await send(settings, message(first))
    await settled(engine, uid)
    before = await database.fetchrow("SELECT * FROM orders WHERE order_uid = $1", uid)
    await send(settings, message(second))
    await engine.wait_for("batch_committed", changed=1)
    after = await database.fetchrow("SELECT * FROM orders WHERE order_uid = $1", uid)
    await send(settings, message(second))
    await engine.wait_for("batch_committed", changed=0, inserted=0, unchanged=1)
    repeated = await database.fetchrow("SELECT * FROM orders WHERE order_uid = $1", uid)

    assert before is not None
    assert after is not None
    assert repeated is not None
    assert after["created_at"] == before["created_at"]
    assert after["updated_at"] > before["updated_at"]
    assert repeated["updated_at"] == after["updated_at"]
    assert repeated["source_offset"] == after["source_offset"] + 1
    body = (await fetch_bodies(database, [uid]))[uid]
    assert json.decode(body)["items"] == other_items
    await eventually(lambda: redis.get(f"order:{uid}"), lambda found: found == body)


async def test_across_partitions_the_later_timestamp_wins(
    engine: Running, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """The same uid sent to two partitions ends in the version that was produced last."""
    order = orders.order()
    uid = order["order_uid"]
    for version, partition in enumerate([2, 0, 3], start=1):
        await send(settings, message({**order, "sm_id": version}), partition=partition)
    await consumed(database, 3, timeout_s=20)
    assert await database.fetchval("SELECT sm_id FROM orders WHERE order_uid = $1", uid) == 3


async def test_bad_messages_become_dead_letters_and_their_neighbours_land(
    engine: Running, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """Each bad message is one dead letter, in the table and in the topic, with all its reasons."""
    good = [orders.order() for _ in range(3)]
    wrong = orders.order()
    wrong["items"][0]["price"] = -1
    del wrong["delivery"]["name"]
    bad = [(b"k", b"not json"), (None, b""), (b"gone", None), message(wrong)]
    messages = [message(good[0]), bad[0], message(good[1]), bad[1], bad[2], bad[3], message(good[2])]
    places = await send(settings, *messages, partition=1)
    await settled(engine, *(order["order_uid"] for order in good))

    letters = await receive(settings, settings.kafka_dlq_topic, 4)
    headers = [{name: value.decode() for name, value in letter.headers} for letter in letters]
    assert [(letter.key, letter.value) for letter in letters] == bad
    assert [header["x-failure-reason"] for header in headers] == [
        "invalid_json", "empty_message", "empty_message", "invalid_order",
    ]  # fmt: skip
    bad_offsets = [offset for (_, offset), sent in zip(places, messages, strict=True) if sent in bad]
    assert [int(header["x-original-offset"]) for header in headers] == bad_offsets
    assert {header["x-original-topic"] for header in headers} == {settings.kafka_topic}
    assert {header["x-original-partition"] for header in headers} == {"1"}
    assert headers[3]["x-failure-fields"] == "delivery.name,items[0].price"
    rows = await database.fetch("SELECT * FROM dead_letters ORDER BY kafka_offset")
    assert [row["kafka_offset"] for row in rows] == bad_offsets
    assert rows[3]["subject"] == wrong["order_uid"]
    assert [line["order_uid"] for line in engine.seen("order_rejected")][-1] == wrong["order_uid"]


async def test_what_only_the_database_refuses_is_found_by_bisection(
    engine: Running, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """When PostgreSQL refuses rows that validation let pass, exactly those become dead letters."""
    await database.execute("ALTER TABLE orders ADD CONSTRAINT no_poison CHECK (shardkey <> 'poison')")
    batch = [orders.order() for _ in range(40)]
    poisoned = {0, 17, 18, 39}
    for index in poisoned:
        batch[index]["shardkey"] = "poison"
    await send(settings, *(message(order) for order in batch))
    await consumed(database, 40, timeout_s=20)
    stored = {row[0] for row in await database.fetch("SELECT order_uid FROM orders")}
    letters = await database.fetch("SELECT subject, reason, errors::text AS errors FROM dead_letters")
    assert {row["subject"] for row in letters} == {batch[index]["order_uid"] for index in poisoned}
    assert {row["reason"] for row in letters} == {"refused_by_database"}
    refusal = "CheckViolationError (23514): table orders, constraint no_poison"
    assert {row["errors"] for row in letters} == {f'[{{"path": "", "message": "{refusal}"}}]'}
    assert stored == {order["order_uid"] for index, order in enumerate(batch) if index not in poisoned}


async def test_a_drain_finishes_what_is_in_flight(
    engine: Running, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """SIGTERM under load: exit 0, and the stored offsets say exactly which messages are stored."""
    await send(settings, *(message(orders.order()) for _ in range(500)))
    assert await engine.stop() == 0
    consumed = await database.fetchval("SELECT coalesce(sum(next_offset), 0) FROM consumed_offsets")
    assert await database.fetchval("SELECT count(*) FROM orders") == consumed
    assert await database.fetchval("SELECT count(*) FROM workers") == 0


async def test_the_newest_orders_are_cached_at_start(
    orderflow: Programs, orders: OrderGenerator, settings: Settings, redis: Redis
) -> None:
    """After a restart with an empty Redis, the newest orders are cached again without anybody asking for them.

    Those dated in the future take no place of theirs.
    """
    batch = [orders.order() for _ in range(30)]
    wrong_year = {**orders.order(), "date_created": "9999-12-31T23:59:59Z"}
    uids = [order["order_uid"] for order in (*batch, wrong_year)]
    first = await orderflow.start("engine", "--workers", "1")
    await send(settings, *(message(order) for order in (*batch, wrong_year)))
    await settled(first, *uids)
    assert await first.stop() == 0
    await redis.flushdb()
    second = await orderflow.start("engine", "--workers", "1", CACHE_WARM_ORDERS="20")
    await second.wait_for("cache_warmed", orders=20)
    newest = sorted(batch, key=lambda order: (order["date_created"], order["order_uid"]))[-20:]
    assert {key.decode() for key in await redis.keys("order:*")} == {f"order:{one['order_uid']}" for one in newest}


async def test_a_clean_restart_consumes_nothing_twice(
    orderflow: Programs, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """A second engine goes on exactly where the first one stopped."""
    for _ in range(2):
        running = await orderflow.start("engine", "--workers", "2")
        batch = [orders.order() for _ in range(20)]
        await send(settings, *(message(order) for order in batch))
        await settled(running, *(order["order_uid"] for order in batch))
        assert await running.stop() == 0
    assert await database.fetchval("SELECT sum(messages) FROM batches") == 40
    assert await database.fetchval("SELECT count(*) FROM orders") == 40


async def test_an_engine_that_is_stopped_while_its_workers_boot_ends_cleanly(orderflow: Programs) -> None:
    """SIGTERM before any worker has joined the group is a clean stop too: nothing was in flight."""
    running = await orderflow.start("engine", "--workers", "2")
    await running.wait_for("supervisor_started")
    assert await running.stop() == 0


async def test_headers_of_any_name_stop_nothing(
    engine: Running, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """A header's name that is no text: its order lands, its reject is a dead letter, and so do their neighbours."""
    first, second = orders.order(), orders.order()
    odd = [(b"\xff\xfe", b"1"), (b"x-original-\xff", None)]
    await send_odd(settings, [(*message(first), odd), (b"key", b"no order", odd), (*message(second), [])], partition=2)
    await settled(engine, first["order_uid"], second["order_uid"])
    [letter] = await database.fetch("SELECT * FROM dead_letters")
    assert (letter["kafka_offset"], letter["payload"]) == (1, b"no order")
    await send(settings, message(orders.order()), partition=2)
    await consumed(database, 4, timeout_s=20)
    assert await engine.stop() == 0


async def test_a_session_that_began_on_an_empty_table_reads_by_the_index_when_it_has_grown(
    orderflow: Programs, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """PostgreSQL keeps the plan of a foreign key's check: one made for a table known to be empty reads all of it."""
    for table in ("orders", "order_items"):
        await database.execute(f"VACUUM ANALYZE {table}")
    await orderflow.start("engine", "--workers", "1")
    await send(settings, message(orders.order()))
    await consumed(database, 1)
    await send(settings, *(message(orders.order()) for _ in range(1000)))
    await consumed(database, 1001)

    read = (
        "SELECT seq_tup_read + idx_tup_fetch AS found, seq_tup_read FROM pg_stat_user_tables WHERE relname = 'orders'"
    )
    row = await eventually(lambda: database.fetchrow(read), lambda row: row["found"] >= 1000)
    assert row["seq_tup_read"] < 1000
