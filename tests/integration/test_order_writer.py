"""Rows that are packed by hand into COPY's format: what PostgreSQL stores of them is what the message said."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import attrs
from msgspec.structs import replace

from engine.records import Batch, Entry
from handlers.body import digest, render_body, render_content
from handlers.model import INT4_MAX, INT8_MAX, Item, Order, UtcTime
from handlers.order_writer import OrderWriter
from handlers.prepared import PreparedOrder, prepare
from handlers.reader import fetch_bodies
from orderflow.orders import OrderGenerator
from tests.support.stored_orders import make_order

BATCH_ID = UUID("01234567-89ab-cdef-0123-456789abcdef")
PRODUCED_MS = 1_767_225_600_123
LONG_TEXT = "Ж\t\\N\n" * 3000
ODD_TEXT = "%s" + "".join(map(chr, range(1, 0x100))) + "\u2028\ufeff\uffff\U0010ffff"


@attrs.frozen
class Record:
    """As much of a Kafka record as the writer looks at."""

    partition: int
    offset: int
    timestamp: int = PRODUCED_MS
    headers: tuple[tuple[str, bytes], ...] = ()


def batch_of(orders: list[Order], partition: int = 0, offset: int = 0, epoch: int = 0) -> Batch[PreparedOrder]:
    now = datetime.now(UTC)
    entries: list[Entry[PreparedOrder]] = [
        Entry(Record(partition, offset + place), prepare(order))  # type: ignore[arg-type]  # all that is looked at
        for place, order in enumerate(orders)
    ]
    return Batch(BATCH_ID, "orders", now, now, entries, {partition: epoch})


async def write(database: asyncpg.Connection, batch: Batch[PreparedOrder]) -> None:
    async with database.transaction():
        await OrderWriter().write(database, batch)


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
        order(date_created=UtcTime(1, 1, 1, tzinfo=UTC)),
        order(date_created=UtcTime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        order(date_created=UtcTime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
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
