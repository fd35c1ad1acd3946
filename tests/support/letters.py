"""Dead letters for tests: inserts them into PostgreSQL without an engine, lists them, replays them."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from orderflow.start.settings import Settings
from tests.support.programs import Finished, Programs

FAILED_AT = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
_COLUMNS = {
    "partition": 0,
    "kafka_offset": 0,
    "key": b"a key",
    "payload": b"a payload",
    "headers": "[]",
    "reason": "invalid_order",
    "errors": json.dumps([{"path": "entry", "message": "is required"}]),
    "subject": None,
    "produced_at": FAILED_AT,
    "failed_at": FAILED_AT,
    "batch_id": UUID(int=7),
}


async def store_letter(database: asyncpg.Connection, settings: Settings, **columns: Any) -> None:
    """Insert a dead letter of the test's topic and group. `columns` replace the default values."""
    row = {"topic": settings.kafka_topic, "consumer_group": settings.kafka_group_id, **_COLUMNS, **columns}
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await database.execute(f"INSERT INTO dead_letters ({', '.join(row)}) VALUES ({places})", *row.values())


async def letters(database: asyncpg.Connection) -> list[Any]:
    """Return all dead letters, sorted by partition and offset."""
    return await database.fetch("SELECT * FROM dead_letters ORDER BY partition, kafka_offset")


def message(order: dict[str, Any], **changes: Any) -> tuple[bytes, bytes]:
    """Return the key and the value of an order's message, with some of its fields changed."""
    return order["order_uid"].encode(), json.dumps({**order, **changes}).encode()


def originally(settings: Settings, partition: int, offset: int, **others: str) -> list[tuple[str, bytes]]:
    """Return replay headers that name a message as the original. In the names of `others`, `_` stands for `-`."""
    named = {
        "x-original-topic": settings.kafka_topic,
        "x-original-partition": partition,
        "x-original-offset": offset,
        **{name.replace("_", "-"): value for name, value in others.items()},
    }
    return [(name, str(value).encode()) for name, value in named.items()]


async def stored_version(database: asyncpg.Connection, order: dict[str, Any]) -> Any:
    """Return the order's `sm_id`, which tests use as version number. None if the order is not stored."""
    return await database.fetchval("SELECT sm_id FROM orders WHERE order_uid = $1", order["order_uid"])


async def replayed(orderflow: Programs, *arguments: str) -> Finished:
    """Run `orderflow dlq replay`, which must succeed."""
    finished = await orderflow.run("dlq", "replay", *arguments)
    assert finished.returncode == 0, finished.stderr
    return finished


async def listed(orderflow: Programs, *arguments: str) -> list[dict[str, Any]]:
    """Return the output of `orderflow dlq list`."""
    found: list[dict[str, Any]] = json.loads((await orderflow.run("dlq", "list", "--json", *arguments)).stdout)
    return found
