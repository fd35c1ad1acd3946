"""Puts dead letters into PostgreSQL without an engine, and looks them up."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from orderflow.settings import Settings

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
    """Insert a letter of the test's topic and group; `columns` replace what is usual."""
    row = {"topic": settings.kafka_topic, "consumer_group": settings.kafka_group_id, **_COLUMNS, **columns}
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await database.execute(f"INSERT INTO dead_letters ({', '.join(row)}) VALUES ({places})", *row.values())


async def letters(database: asyncpg.Connection) -> list[Any]:
    """Return all letters, by place."""
    return await database.fetch("SELECT * FROM dead_letters ORDER BY partition, kafka_offset")
