"""Inserts the rows that an engine would write for an order, for tests of order stories."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.stored_orders import make_order, store_order

PRODUCED_AT = datetime(2026, 3, 4, 5, 6, 7, 100_000, tzinfo=UTC)
BATCH_ID = UUID(int=8)


def after_ms(milliseconds: float) -> datetime:
    """Return the time that is so many milliseconds after the message was produced."""
    return PRODUCED_AT + timedelta(milliseconds=milliseconds)


async def store_batch(database: asyncpg.Connection, settings: Settings, **columns: Any) -> None:
    """Insert a batch of the offsets 50 to 59 of partition 2; `columns` (or `cached_at`) replace default values."""
    cached_at = columns.pop("cached_at", after_ms(31.25))
    sources = [{"partition": 2, "first_offset": 50, "messages": 10, "last_offset": 59}]
    row = {
        "batch_id": BATCH_ID,
        "consumer_group": settings.kafka_group_id,
        "topic": settings.kafka_topic,
        "worker": "worker-1",
        "host": "a-host",
        "sources": json.dumps(sources),
        "consumed_at": after_ms(20),
        "validated_at": after_ms(20.5),
        "committed_at": after_ms(30),
        "messages": 10,
        "inserted": 7,
        "changed": 1,
        "unchanged": 0,
        "rejected": 2,
        **columns,
    }
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await database.execute(f"INSERT INTO batches ({', '.join(row)}) VALUES ({places})", *row.values())
    if cached_at is not None:
        await database.execute("INSERT INTO cached_batches VALUES ($1, $2)", row["batch_id"], cached_at)


async def store_written_order(database: asyncpg.Connection, order_uid: str, **columns: Any) -> None:
    """Insert an order that the batch wrote from the message at 2:57. `columns` replace the default values."""
    await store_order(database, make_order(OrderGenerator(1), order_uid=order_uid))
    values = {
        "source_partition": 2,
        "source_offset": 57,
        "source_epoch": 0,
        "produced_at": PRODUCED_AT,
        "batch_id": BATCH_ID,
        **columns,
    }
    changes = ", ".join(f"{name} = ${number}" for number, name in enumerate(values, 2))
    await database.execute(f"UPDATE orders SET {changes} WHERE order_uid = $1", order_uid, *values.values())
