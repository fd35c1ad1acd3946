"""A batch that is one statement: it stores what COPY stores, or nothing when another worker has moved an offset."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.handler import Statement
from engine.postgres.offsets import FENCE_PASSED, Advance, fence, fenced
from engine.postgres.statements import execute_joined
from engine.records import UNKNOWN_MS, Batch
from handlers.model import INT4_MAX, INT8_MAX, Order
from handlers.order_writer import OrderWriter
from handlers.prepared import PreparedOrder
from handlers.times import render_utc
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import postgres_options
from orderflow.start.settings import Settings
from tests.integration.test_order_writer import batch_of, outermost_orders
from tests.support.eventually import eventually
from tests.support.memory_kafka import Consumed
from tests.support.stored_orders import make_order

GROUP, TOPIC = "group", "orders"
_OPEN = "INSERT INTO consumed_offsets (consumer_group, topic, partition, next_offset) VALUES ($1, $2, $3, $4)"
_ROWS = """
SELECT (SELECT jsonb_agg(to_jsonb(o) - '{created_at,updated_at}'::text[] ORDER BY order_uid) FROM orders o)::text,
       (SELECT jsonb_agg(to_jsonb(i) ORDER BY order_uid, rid) FROM order_items i)::text,
       (SELECT array_agg(DISTINCT created_at) || array_agg(DISTINCT updated_at) FROM orders)
"""
_OFFSETS = "SELECT partition, next_offset, last_offset, last_timestamp, last_checksum, write_id FROM consumed_offsets"

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
filled = texts.filter(str.strip)
keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20).filter(str.strip)
moments = st.datetimes(timezones=st.just(UTC)).map(render_utc)
counts, numbers = st.integers(0, INT4_MAX), st.integers(1, INT8_MAX)
_GENERATOR = OrderGenerator(3)
_PLAIN = [make_order(_GENERATOR) for _ in range(3)]


@st.composite
def some_orders(draw: st.DrawFn) -> list[Order]:
    """Draw orders with texts of any script, times of any year and numbers of any size. Some have the same uid."""
    orders = []
    for plain in draw(st.lists(st.sampled_from(_PLAIN), min_size=1, max_size=3)):
        item = replace(
            plain.items[0],
            name=draw(filled),
            size=draw(filled),
            nm_id=draw(numbers),
            chrt_id=draw(numbers),
            price=draw(counts),
            sale=draw(counts),
        )
        rids = draw(st.lists(keys, min_size=1, max_size=3, unique=True))
        orders.append(
            replace(
                plain,
                date_created=draw(moments),
                sm_id=draw(st.integers(-INT4_MAX - 1, INT4_MAX)),
                entry=draw(filled),
                oof_shard=draw(texts),
                customer_id=draw(keys),
                delivery=replace(plain.delivery, city=draw(filled), email=draw(texts)),
                payment=replace(plain.payment, payment_dt=draw(numbers), bank=draw(texts)),
                items=[replace(item, rid=rid) for rid in rids],
            )
        )
    return orders


async def run_at_once(connection: asyncpg.Connection, batch: Batch[PreparedOrder]) -> None:
    found = OrderWriter().statement(batch)
    assert found is not None
    await connection.execute("DELETE FROM consumed_offsets")
    await connection.execute(_OPEN, GROUP, TOPIC, 0, 7)
    await execute_joined(connection, [fence(GROUP, TOPIC, [Advance(0, 7, 8, None)], uuid4()), found[0]], FENCE_PASSED)


async def rows_after(
    connection: asyncpg.Connection,
    write: Callable[[asyncpg.Connection, Batch[PreparedOrder]], Awaitable[Any]],
    batch: Batch[PreparedOrder],
) -> tuple[Any, ...]:
    """Return what stands in both tables after the batch was written, and whether all times are one. Undo it."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await write(connection, batch)
        row = await connection.fetchrow(_ROWS)
        assert row is not None
        orders, items, times = row
        return orders, items, len(set(times)), abs((times[0] - datetime.now(UTC)).total_seconds()) < 60
    finally:
        await transaction.rollback()


async def both_store_the_same(connection: asyncpg.Connection, batch: Batch[PreparedOrder]) -> None:
    copied = await rows_after(connection, lambda at, one: OrderWriter().write(at, one), batch)
    assert await rows_after(connection, run_at_once, batch) == copied


def test_a_statement_stores_the_rows_that_copy_stores(settings: Settings) -> None:
    """Whatever an order says: every column of both tables, of several orders, of two messages of one order."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(**postgres_options(settings)))

        @hypothesis.settings(max_examples=60, deadline=None)
        @given(orders=some_orders(), timestamp=st.sampled_from([UNKNOWN_MS, 0, 1_767_225_600_123, 10**15]))
        def check(orders: list[Order], timestamp: int) -> None:
            batch = batch_of(orders, partition=3, offset=2**40, epoch=2, timestamp=timestamp)
            runner.run(both_store_the_same(connection, batch))

        check()
        runner.run(connection.close())


async def test_a_statement_stores_orders_at_all_bounds(database: asyncpg.Connection) -> None:
    """Each alone. One with too much JSON is left to COPY."""
    for order in outermost_orders():
        batch = batch_of([order])
        if OrderWriter().statement(batch) is not None:
            await both_store_the_same(database, batch)


async def test_a_fenced_worker_writes_nothing_and_is_told_the_partition(database: asyncpg.Connection) -> None:
    """Another worker has moved one of two offsets: neither the other one moves, nor is an order stored."""
    for partition, next_offset in ((1, 10), (2, 21)):
        await database.execute(_OPEN, GROUP, TOPIC, partition, next_offset)
    before = await database.fetch(_OFFSETS)
    found = OrderWriter().statement(batch_of([make_order(_GENERATOR)]))
    assert found is not None
    moves = fence(GROUP, TOPIC, [Advance(2, 20, 22, None), Advance(1, 10, 12, Consumed(1, 11, b"value"))], uuid4())
    with pytest.raises(asyncpg.PostgresError) as refused:
        await execute_joined(database, [moves, found[0]], FENCE_PASSED)
    fence_error = fenced(refused.value)
    assert fence_error is not None
    assert fence_error.partition == 2
    assert await database.fetch(_OFFSETS) == before
    assert await database.fetchval("SELECT count(*) FROM orders") == 0


async def test_a_worker_that_is_fenced_while_it_waits_writes_nothing(
    settings: Settings, database: asyncpg.Connection
) -> None:
    """The offset is free when the statement begins to wait for it, and moved when it goes on."""
    await database.execute(_OPEN, GROUP, TOPIC, 0, 7)
    found = OrderWriter().statement(batch_of(_PLAIN))
    assert found is not None
    late = await asyncpg.connect(**postgres_options(settings))
    moves = fence(GROUP, TOPIC, [Advance(0, 7, 8, None)], uuid4())
    async with database.transaction():
        await database.execute("UPDATE consumed_offsets SET next_offset = 9")
        writing = asyncio.create_task(execute_joined(late, [moves, found[0]], FENCE_PASSED))
        waits = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1"
        await eventually(lambda: database.fetchval(waits, late.get_server_pid()), lambda seen: seen == "Lock")
    with pytest.raises(asyncpg.PostgresError) as refused:
        await writing
    await late.close()
    assert fenced(refused.value) is not None
    assert await database.fetchval("SELECT count(*) FROM orders") == 0


async def test_orders_are_written_before_their_items(database: asyncpg.Connection) -> None:
    """As COPY does: a trigger of the items finds their order, and two workers with the same order do not deadlock."""
    await database.execute(
        """CREATE FUNCTION orphaned() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF NOT EXISTS (SELECT FROM orders WHERE order_uid = NEW.order_uid) THEN RAISE 'no order'; END IF;
               RETURN NEW;
           END $$;
           CREATE TRIGGER orphaned BEFORE INSERT ON order_items FOR EACH ROW EXECUTE FUNCTION orphaned()"""
    )
    await run_at_once(database, batch_of(_PLAIN))
    assert await database.fetchval("SELECT count(*) FROM orders") == len(_PLAIN)


async def test_offsets_move_as_step_by_step(database: asyncpg.Connection) -> None:
    """An end without a record keeps what is known of the last one."""
    write_id = uuid4()
    for partition in (1, 2):
        await database.execute(_OPEN, GROUP, TOPIC, partition, 10)
    record = Consumed(1, 11, b"value")
    for advances in (
        [Advance(2, 10, 12, record), Advance(1, 10, 12, record)],
        [Advance(1, 12, 15, None), Advance(2, 12, 13, record)],
    ):
        await execute_joined(
            database, [fence(GROUP, TOPIC, advances, write_id), Statement("nothing AS (SELECT)", ())], FENCE_PASSED
        )
    moved = {row["partition"]: tuple(row)[1:] for row in await database.fetch(_OFFSETS)}
    assert [moved[1][:2], moved[2][:2]] == [(15, 11), (13, 11)]
    assert {row[2:] for row in moved.values()} == {(record.timestamp, moved[1][3], write_id)}
