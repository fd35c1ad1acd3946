"""The table of dead letters: written in the batch's own transaction, and the outbox to the dead-letter topic."""

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
from asyncpg import Connection
from msgspec import json

from engine.dead_letter_headers import encode_headers
from engine.records import Batch, Place, Record, record_time
from engine.verdict import Rejected

T = TypeVar("T")

PAGE_LETTERS = 200
PAGE_BYTES = 4 * 1024 * 1024
REPLAY_LIMIT = 5
"""How often a letter may be replayed: whoever sends all dead letters back, automatically, must come to an end."""
TOO_LARGE = "too large for the dead-letter topic"
REPLAYED_TOO_OFTEN = f"replayed more than {REPLAY_LIMIT} times"

# An offset that is consumed again (after a reset) brings the same letter, which stays as it is; a topic that was
# created anew may bring another one under the same offset, which replaces it. The same letter must not even be tried:
# a publisher that waits for its topic holds the row's lock.
_INSERT = """
INSERT INTO dead_letters AS stored (topic, partition, kafka_offset, key, payload, headers, reason, errors, subject,
                                    produced_at, batch_id, consumer_group, epoch, replay_count, settled_count,
                                    publish_error, failed_at)
SELECT fresh.*, statement_timestamp()
FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bytea[], $5::bytea[], $6::text[]::jsonb[], $7::text[],
            $8::text[]::jsonb[], $9::text[], $10::timestamptz[], $11::uuid[], $12::text[], $13::int[], $14::int[],
            $15::int[], $16::text[])
    AS fresh (topic, partition, kafka_offset, key, payload, headers, reason, errors, subject, produced_at)
WHERE NOT EXISTS (
    SELECT FROM dead_letters d
    WHERE (d.topic, d.partition, d.kafka_offset) = (fresh.topic, fresh.partition, fresh.kafka_offset)
      AND (d.payload, d.produced_at) IS NOT DISTINCT FROM (fresh.payload, fresh.produced_at)
)
ON CONFLICT (topic, partition, kafka_offset) DO UPDATE
SET key = excluded.key, payload = excluded.payload, headers = excluded.headers, reason = excluded.reason,
    errors = excluded.errors, subject = excluded.subject, produced_at = excluded.produced_at,
    failed_at = excluded.failed_at, batch_id = excluded.batch_id, consumer_group = excluded.consumer_group,
    epoch = excluded.epoch, published_at = NULL, publish_error = excluded.publish_error, resolved_at = NULL,
    replay_count = excluded.replay_count, settled_count = excluded.settled_count, replayed_at = NULL
WHERE (stored.payload, stored.produced_at) IS DISTINCT FROM (excluded.payload, excluded.produced_at)
"""
# In the order of the key, so that two batches that meet on the same letters wait for each other and do not deadlock.
_LOCK = """
SELECT d.partition, d.kafka_offset, d.epoch, d.produced_at, d.subject, d.replay_count, sha256(d.payload) AS digest
FROM dead_letters d JOIN unnest($2::int[], $3::bigint[]) AS named (partition, kafka_offset)
    ON d.partition = named.partition AND d.kafka_offset = named.kafka_offset
WHERE d.topic = $1 ORDER BY d.partition, d.kafka_offset FOR UPDATE OF d
"""
_RESOLVE = """
UPDATE dead_letters d
SET resolved_at = coalesce(d.resolved_at, clock_timestamp()), replay_count = greatest(d.replay_count, replay.count),
    settled_count = greatest(d.settled_count, replay.count)
FROM unnest($2::int[], $3::bigint[], $4::int[]) AS replay (partition, kafka_offset, count)
WHERE d.topic = $1 AND d.partition = replay.partition AND d.kafka_offset = replay.kafka_offset
"""
# A replay that does not count higher than the last one is no news: the same one consumed again, or a copy from the
# dead-letter topic sent back as it is.
_REJECT_AGAIN = """
UPDATE dead_letters d
SET reason = replay.reason, errors = replay.errors, subject = coalesce(replay.subject, d.subject),
    failed_at = statement_timestamp(), batch_id = $9, consumer_group = $10, resolved_at = NULL, published_at = NULL,
    publish_error = replay.publish_error, replay_count = greatest(d.replay_count, replay.count),
    settled_count = replay.count
FROM unnest($2::int[], $3::bigint[], $4::int[], $5::text[], $6::text[]::jsonb[], $7::text[], $8::text[])
     AS replay (partition, kafka_offset, count, reason, errors, subject, publish_error)
WHERE d.topic = $1 AND d.partition = replay.partition AND d.kafka_offset = replay.kafka_offset
  AND replay.count > d.settled_count
"""
LETTER_BYTES = "coalesce(octet_length(payload), 0) + coalesce(octet_length(key), 0) + octet_length(headers::text)"
"""A letter's size: what `fetch_letters` bounds its pages by."""
_WAITING = f"""
SELECT partition, kafka_offset, {LETTER_BYTES} AS size FROM dead_letters
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
    connection: Connection, group: str, batch: Batch[T], rejected: list[tuple[Record, Rejected, int]]
) -> None:
    """Store rejected records of a batch within its transaction, each with how often it has been replayed, edited."""
    rows = [
        (
            batch.topic,
            record.partition,
            record.offset,
            record.key,
            record.value,
            encode_headers(record),
            verdict.reason,
            _encode_errors(verdict),
            verdict.subject,
            record_time(record),
            batch.batch_id,
            group,
            batch.epochs[record.partition],
            count,
            count,
            _publish_error(count),
        )
        for record, verdict, count in rejected
    ]
    await connection.execute(_INSERT, *_columns(rows, 16))


async def lock_letters(connection: Connection, topic: str, places: list[Place]) -> dict[Place, Any]:
    """Lock the letters that there are at `places`, and return of each its row without the payload, but its SHA-256."""
    rows = await connection.fetch(_LOCK, topic, *_columns(places, 2))
    return {(row["partition"], row["kafka_offset"]): row for row in rows}


async def resolve_letters(connection: Connection, topic: str, counts: Mapping[Place, int]) -> None:
    """Note that replays were accepted. `counts` tells, by the letter's place, which replay of it that was."""
    await connection.execute(_RESOLVE, topic, *_columns([(*place, count) for place, count in counts.items()], 3))


async def reject_letters_again(
    connection: Connection, group: str, batch: Batch[T], verdicts: Mapping[Place, tuple[int, Rejected]]
) -> None:
    """Settle replays that were rejected on their letters, which wait for the dead-letter topic again.

    `verdicts` tells, by the letter's place, which replay of it that was and what is wrong with it.
    """
    rows = [
        (*place, count, verdict.reason, _encode_errors(verdict), verdict.subject, _publish_error(count))
        for place, (count, verdict) in verdicts.items()
    ]
    await connection.execute(_REJECT_AGAIN, batch.topic, *_columns(rows, 7), batch.batch_id, group)


def _encode_errors(verdict: Rejected) -> str:
    return json.encode([attrs.asdict(error) for error in verdict.errors]).decode()


def _publish_error(replays: int) -> str | None:
    return REPLAYED_TOO_OFTEN if replays > REPLAY_LIMIT else None


def _columns(rows: list[Any], width: int) -> list[list[Any]]:
    return [[row[index] for row in rows] for index in range(width)]


async def lock_waiting_letters(connection: Connection, topic: str, group: str) -> list[Any]:
    """Return a page of rows that wait for the dead-letter topic, locked; rows that others have locked are left out."""
    return await fetch_letters(connection, topic, await connection.fetch(_WAITING, topic, group, PAGE_LETTERS))


async def fetch_letters(connection: Connection, topic: str, sized: list[Any]) -> list[Any]:
    """Return the whole rows of the first letters of `sized`, sorted by place: about `PAGE_BYTES`, or one.

    `sized` are rows with partition, kafka_offset and `LETTER_BYTES` as size.
    """
    page = _first_bytes(sized, PAGE_BYTES)
    if not page:
        return []
    return await connection.fetch(
        _LETTERS, topic, [row["partition"] for row in page], [row["kafka_offset"] for row in page]
    )


async def mark_published(connection: Connection, topic: str, letters: list[Any], error: str | None = None) -> None:
    """Take letters out of the outbox: published, or not to be published because of `error`."""
    if not letters:
        return
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
