"""Rows that are packed by hand into COPY's format: what PostgreSQL stores of them is what the message said."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import attrs
import pytest
from msgspec.structs import replace

from engine.handler import RewriteBatch
from engine.records import UNKNOWN_MS, Batch, Entry, Origin, Replay, time_of
from handlers.body import digest, render_body, render_content
from handlers.model import INT4_MAX, INT8_MAX, Item, Order, UtcTime
from handlers.order_writer import OrderWriter
from handlers.prepared import PreparedOrder, prepare
from handlers.reader import fetch_bodies
from handlers.versions import WritePlan
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.old_orders import forget_topics
from tests.support.stored_orders import make_order
from tests.support.stories import store_batch, store_written_order

BATCH_ID = UUID("01234567-89ab-cdef-0123-456789abcdef")
PRODUCED_MS = 1_767_225_600_123
LONG_TEXT = "Ж\t\\N\n" * 3000
ODD_TEXT = "%s\n\\.\n" + "".join(map(chr, range(1, 0x100))) + "\u2028\ufeff\uffff\U0010ffff"


@attrs.frozen
class Record:
    """As much of a Kafka record as the writer looks at."""

    partition: int
    offset: int
    timestamp: int = PRODUCED_MS
    headers: tuple[tuple[str, bytes], ...] = ()


def batch_of(
    orders: list[Order],
    partition: int = 0,
    offset: int = 0,
    epoch: int = 0,
    timestamp: int = PRODUCED_MS,
    topic: str = "orders",
) -> Batch[PreparedOrder]:
    now = datetime.now(UTC)
    entries: list[Entry[PreparedOrder]] = [
        Entry(Record(partition, offset + place, timestamp), prepare(order))  # type: ignore[arg-type]  # all that is looked at
        for place, order in enumerate(orders)
    ]
    return Batch(BATCH_ID, topic, now, now, entries, {partition: epoch})


async def write(database: asyncpg.Connection, batch: Batch[PreparedOrder]) -> WritePlan[PreparedOrder]:
    """Write a batch, again if need be, as the engine does."""
    writer = OrderWriter()
    while True:
        with suppress(RewriteBatch):
            async with database.transaction():
                return await writer.write(database, batch)


async def read(database: asyncpg.Connection, order: Order) -> Any:
    """Return the stored row, after checking that the order is read back as it was written."""
    row = await database.fetchrow("SELECT * FROM orders WHERE order_uid = $1", order.order_uid)
    bodies = await fetch_bodies(database, [order.order_uid])
    assert bodies == {order.order_uid: render_body(order, row["created_at"], row["updated_at"])}
    return row


def outermost_orders() -> list[Order]:
    """Return valid orders at the bounds of what is allowed."""
    generator = OrderGenerator(7)
    plain = make_order(generator)
    item = plain.items[0]

    def order(**changes: Any) -> Order:
        return make_order(generator, **changes)

    def items(**changes: Any) -> list[Item]:
        return [replace(item, **changes)]

    return [
        plain,
        order(internal_signature="", delivery_service="", shardkey="", oof_shard="", sm_id=-INT4_MAX - 1),
        order(sm_id=INT4_MAX, order_uid="Ы" * 256, customer_id="\U0001f600" * 128, entry=LONG_TEXT),
        order(entry=ODD_TEXT, locale="'", shardkey=ODD_TEXT),
        order(date_created=UtcTime("0001-01-01T00:00:00Z")),
        order(date_created=UtcTime("1999-12-31T23:59:59.999999Z")),
        order(date_created=UtcTime("9999-12-31T23:59:59.999999Z")),
        order(payment=replace(plain.payment, amount=0, delivery_cost=0, goods_total=0, custom_fee=0, payment_dt=1)),
        order(payment=replace(plain.payment, amount=INT4_MAX, delivery_cost=0, goods_total=INT4_MAX, custom_fee=0)),
        order(payment=replace(plain.payment, payment_dt=INT8_MAX, bank=LONG_TEXT)),
        order(items=items(price=0, sale=0, total_price=0, status=0, chrt_id=1, nm_id=1, name=LONG_TEXT)),
        order(items=items(price=INT4_MAX, sale=INT4_MAX, total_price=INT4_MAX, status=INT4_MAX, chrt_id=INT8_MAX)),
        order(items=[replace(item, rid=f"{place}", nm_id=INT8_MAX - place) for place in range(1500)]),
    ]


async def test_orders_at_all_bounds_are_read_back_as_they_were_written(database: asyncpg.Connection) -> None:
    """Numbers, times and texts at the ends of their ranges, texts that COPY's text format would have to escape."""
    orders = outermost_orders()
    await write(database, batch_of(orders, partition=2**31 - 1, offset=2**63 - 1 - len(orders), epoch=3))
    for place, order in enumerate(orders):
        row = await read(database, order)
        assert row["source_topic"] == "orders"
        assert row["source_partition"] == 2**31 - 1
        assert row["source_offset"] == 2**63 - 1 - len(orders) + place
        assert row["source_epoch"] == 3
        assert row["produced_at"] == datetime(2026, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC)
        assert row["batch_id"] == BATCH_ID
        assert row["content_digest"] == digest(render_content(order))
        assert row["created_at"] == row["updated_at"]


async def test_a_batch_goes_through_whole_in_several_parts(database: asyncpg.Connection) -> None:
    """More orders than one part of COPY's data holds."""
    generator = OrderGenerator(8)
    orders = [make_order(generator) for _ in range(1201)]
    await write(database, batch_of(orders))
    assert await database.fetchval("SELECT count(*) FROM orders") == len(orders)
    assert await database.fetchval("SELECT count(*) FROM order_items") == sum(len(order.items) for order in orders)
    for order in (orders[0], orders[600], orders[-1]):
        await read(database, order)


async def test_an_empty_batch_writes_nothing(database: asyncpg.Connection) -> None:
    """A batch of nothing but rejects has no rows for COPY."""
    await write(database, batch_of([]))
    assert await database.fetchval("SELECT count(*) FROM orders") == 0


async def consume(database: asyncpg.Connection, topic: str, partition: int = 1, group: str = "a group") -> None:
    """Let a partition be consumed from now on, as an engine of any age does."""
    await database.execute("INSERT INTO consumed_offsets VALUES ($1, $2, $3, 5000)", group, topic, partition)


def changed(order: Order, **place: Any) -> Batch[PreparedOrder]:
    return batch_of([replace(order, sm_id=order.sm_id + 1)], **{"partition": 1, **place})


LATER_BUT_SENT_BEFORE = {"offset": 5000, "timestamp": PRODUCED_MS - 1}
EARLIER_BUT_SENT_AFTER = {"offset": 4998, "timestamp": PRODUCED_MS + 1}


@pytest.mark.parametrize(
    ("consumed_before", "written_by", "by_offset"),
    [
        ([("orders", 1)], "orders", True),
        ([("orders", 1)], None, True),
        ([("orders", 0)], "orders", False),
        ([("others", 1)], "others", False),
        ([("others", 1), ("orders", 1)], "others", False),
        ([("others", 1), ("orders", 1)], None, False),
        ([], "orders", False),
    ],
    ids=[
        "the topic was consumed",
        "its batch was deleted",
        "another partition was consumed",
        "another topic was consumed",
        "both were, and the batch tells which it was",
        "both were, and nobody can tell",
        "nothing was consumed",
    ],
)
async def test_an_order_that_names_no_topic_is_of_this_one_only_where_it_may_be(
    database: asyncpg.Connection,
    settings: Settings,
    consumed_before: list[tuple[str, int]],
    written_by: str | None,
    by_offset: bool,
) -> None:
    """Then the later offset wins. Else it is of a topic that is not known, and the later timestamp does."""
    orders = [make_order(OrderGenerator(9)), make_order(OrderGenerator(10))]
    await write(database, batch_of(orders, partition=1, offset=4999))
    for topic, partition in consumed_before:
        await consume(database, topic, partition)
    if written_by is not None:
        await store_batch(database, settings, batch_id=BATCH_ID, topic=written_by)
    await forget_topics(database)
    for partition in (0, 1):  # what another group begins with now says nothing of what was consumed before
        await consume(database, "orders", partition, "another group")

    later = await write(database, changed(orders[0], **LATER_BUT_SENT_BEFORE))
    earlier = await write(database, changed(orders[0], **EARLIER_BUT_SENT_AFTER))
    assert (len(later.changes), len(later.stale)) == ((1, 0) if by_offset else (0, 1))
    assert (len(earlier.changes), len(earlier.stale)) == ((0, 1) if by_offset else (1, 0))
    assert (await read(database, replace(orders[0], sm_id=orders[0].sm_id + 1)))["source_topic"] == "orders"


async def test_a_repeat_moves_the_topic_too(database: asyncpg.Connection) -> None:
    """The place is of no use without it."""
    order = make_order(OrderGenerator(11))
    await write(database, batch_of([order], partition=1, offset=4999, topic="others"))
    repeated = await write(database, batch_of([order], partition=0, offset=3, timestamp=PRODUCED_MS + 1))
    assert len(repeated.unchanged) == 1
    row = await read(database, order)
    assert (row["source_topic"], row["source_partition"], row["source_offset"]) == ("orders", 0, 3)


async def test_a_replayed_letter_competes_as_a_message_of_its_own_topic(database: asyncpg.Connection) -> None:
    """And the order that comes of it names that topic."""
    order = make_order(OrderGenerator(12))
    origin = Origin("others", 1, 7, PRODUCED_MS - 1000, 0)
    again = attrs.evolve(batch_of([order], offset=9), replays={(0, 9): Replay((1, 7), 1, origin, False, None, "group")})
    await write(database, again)
    row = await read(database, order)
    assert (row["source_topic"], row["source_partition"], row["source_offset"]) == ("others", 1, 7)
    assert (await write(database, again)).stale


async def test_an_older_engine_goes_on_beside_this_one(database: asyncpg.Connection) -> None:
    """What it writes names no topic, and is of the one it consumes; where it begins, its offsets are not old."""
    await consume(database, "orders")
    await forget_topics(database)
    await consume(database, "new to both")
    marked = "SELECT topic, predates_source_topic FROM consumed_offsets ORDER BY topic DESC"
    assert [tuple(row) for row in await database.fetch(marked)] == [("orders", True), ("new to both", False)]

    place = {"source_partition": 1, "source_offset": 4999, "produced_at": time_of(PRODUCED_MS), "batch_id": None}
    await store_written_order(database, "uid", **place)
    order = make_order(OrderGenerator(1), order_uid="uid")
    assert (await write(database, changed(order, **EARLIER_BUT_SENT_AFTER))).stale
    assert (await write(database, changed(order, **LATER_BUT_SENT_BEFORE))).changes


async def test_no_timestamp_is_stored_as_what_it_is(database: asyncpg.Connection) -> None:
    """COPY and a move of the source write the same instant, which is before all others."""
    order = make_order(OrderGenerator(14))
    await write(database, batch_of([order], partition=1, offset=1, timestamp=UNKNOWN_MS))
    assert (await read(database, order))["produced_at"] == time_of(UNKNOWN_MS)
    assert (await write(database, batch_of([order], partition=1, offset=2, timestamp=UNKNOWN_MS))).unchanged
    assert (await read(database, order))["produced_at"] == time_of(UNKNOWN_MS)
    assert (await write(database, batch_of([order], partition=2, offset=0, timestamp=0))).unchanged
