"""The table of batches: a row for each, written in its own transaction, by which a doubtful COMMIT is settled."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from asyncpg import Connection
from msgspec import json

from engine.actors.identity import Identity
from engine.records import Batch, Written

# All times are the database's, so that they fit together whatever a worker's clock says.
# Only workers of the build before read `cached_at`: an empty one is work that they have to finish.
_INSERT = """
INSERT INTO batches (batch_id, consumer_group, topic, worker, host, sources, consumed_at, validated_at, committed_at,
                     cached_at, messages, inserted, changed, unchanged, rejected)
SELECT $1, $2, $3, $4, $5, $6::text::jsonb, time.now - $7::interval, time.now - $8::interval, time.now,
       time.now, $9, $10, $11, $12, $13
FROM (SELECT clock_timestamp() AS now) AS time
"""
_FIND = "SELECT 1 FROM batches WHERE batch_id = $1"


async def insert_batch(connection: Connection, identity: Identity, batch: Batch[Any], written: Written) -> None:
    """Store who wrote the batch, from where, when, and what became of its messages."""
    now = datetime.now(UTC)
    await connection.execute(
        _INSERT,
        batch.batch_id,
        identity.group,
        batch.topic,
        identity.worker,
        identity.host,
        json.encode(_sources(batch)).decode(),
        now - batch.consumed_at,
        now - batch.validated_at,
        len(batch.entries),
        written.inserted,
        written.changed,
        written.unchanged,
        len(batch.rejected()),
    )


async def is_stored(connection: Connection, batch_id: UUID) -> bool:
    """Return whether the batch was committed."""
    return await connection.fetchrow(_FIND, batch_id) is not None


def _sources(batch: Batch[Any]) -> list[dict[str, int]]:
    sources: dict[int, dict[str, int]] = {}
    for entry in batch.entries:
        record = entry.record
        source = sources.setdefault(
            record.partition, {"partition": record.partition, "first_offset": record.offset, "messages": 0}
        )
        source["last_offset"] = record.offset
        source["messages"] += 1
    return list(sources.values())
