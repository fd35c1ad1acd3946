"""The table of dead letters: written in the batch's own transaction, and the outbox to the dead-letter topic."""

from datetime import UTC, datetime
from typing import Any, TypeVar

import attrs
from asyncpg import Connection
from msgspec import json

from engine.dead_letter_headers import encode_headers
from engine.records import Batch, Record, record_time
from engine.verdict import Rejected

T = TypeVar("T")

PAGE_LETTERS = 200
PAGE_BYTES = 4 * 1024 * 1024
TOO_LARGE = "too large for the dead-letter topic"

# An offset that is consumed again (after a reset) brings the same letter, which stays as it is; a topic that was
# created anew may bring another one under the same offset, which replaces it.
_INSERT = """
INSERT INTO dead_letters AS stored (topic, partition, kafka_offset, key, payload, headers, reason, errors, subject,
                                    produced_at, failed_at, batch_id, consumer_group)
SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bytea[], $5::bytea[], $6::text[]::jsonb[], $7::text[],
                     $8::text[]::jsonb[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::uuid[], $13::text[])
ON CONFLICT (topic, partition, kafka_offset) DO UPDATE
SET key = excluded.key, payload = excluded.payload, headers = excluded.headers, reason = excluded.reason,
    errors = excluded.errors, subject = excluded.subject, produced_at = excluded.produced_at,
    failed_at = excluded.failed_at, batch_id = excluded.batch_id, published_at = NULL, publish_error = NULL,
    resolved_at = NULL, replay_count = 0
WHERE (stored.payload, stored.produced_at) IS DISTINCT FROM (excluded.payload, excluded.produced_at)
"""
_WAITING = """
SELECT partition, kafka_offset, coalesce(octet_length(payload), 0) AS size FROM dead_letters
WHERE published_at IS NULL AND publish_error IS NULL AND topic = $1 AND consumer_group = $2
ORDER BY failed_at, partition, kafka_offset LIMIT $3 FOR UPDATE SKIP LOCKED
"""
_LETTERS = """
SELECT d.* FROM dead_letters d JOIN unnest($2::int[], $3::bigint[]) AS wanted (partition, kafka_offset)
    ON d.partition = wanted.partition AND d.kafka_offset = wanted.kafka_offset
WHERE d.topic = $1 ORDER BY d.partition, d.kafka_offset
"""
_MARK = """
UPDATE dead_letters d SET published_at = CASE WHEN $4::text IS NULL THEN clock_timestamp() END, publish_error = $4
FROM unnest($2::int[], $3::bigint[]) AS sent (partition, kafka_offset)
WHERE d.topic = $1 AND d.partition = sent.partition AND d.kafka_offset = sent.kafka_offset
"""


async def insert_dead_letters(
    connection: Connection, group: str, batch: Batch[T], rejected: list[tuple[Record, Rejected]]
) -> None:
    """Store the rejected records of a batch within its transaction."""
    failed_at = datetime.now(UTC)
    rows = [
        (
            batch.topic,
            record.partition,
            record.offset,
            record.key,
            record.value,
            encode_headers(record),
            verdict.reason,
            json.encode([attrs.asdict(error) for error in verdict.errors]).decode(),
            verdict.subject,
            record_time(record),
            failed_at,
            batch.batch_id,
            group,
        )
        for record, verdict in rejected
    ]
    await connection.execute(_INSERT, *(list(column) for column in zip(*rows, strict=True)))


async def lock_waiting_letters(connection: Connection, topic: str, group: str) -> list[Any]:
    """Return a page of rows that wait for the dead-letter topic, locked; rows that others have locked are left out."""
    waiting = await connection.fetch(_WAITING, topic, group, PAGE_LETTERS)
    page = _first_bytes(waiting, PAGE_BYTES)
    if not page:
        return []
    return await connection.fetch(
        _LETTERS, topic, [row["partition"] for row in page], [row["kafka_offset"] for row in page]
    )


async def mark_published(connection: Connection, topic: str, letters: list[Any], error: str | None = None) -> None:
    """Take letters out of the outbox: published, or not to be published because of `error`."""
    partitions = [letter["partition"] for letter in letters]
    await connection.execute(_MARK, topic, partitions, [letter["kafka_offset"] for letter in letters], error)


def _first_bytes(rows: list[Any], limit: int) -> list[Any]:
    taken: list[Any] = []
    total = 0
    for row in rows:
        total += row["size"]
        if taken and total > limit:
            break
        taken.append(row)
    return taken
