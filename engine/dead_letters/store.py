"""The table `dead_letters`, written in the transaction of the batch."""

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
from asyncpg import Connection
from msgspec import json

from engine.dead_letters.reduced import stored_content
from engine.records import Batch, Place, Record, record_time
from engine.verdict import Rejected

T = TypeVar("T")
LetterKey = tuple[str, int, int]
"""Identifies a dead letter of a topic: consumer group, partition and offset."""

PAGE_LETTERS = 200
PAGE_BYTES = 4 * 1024 * 1024
REPLAY_LIMIT = 5
"""How often a dead letter may be replayed. The limit stops a program that replays all dead letters in a loop."""
TOO_LARGE = "too large for the dead-letter topic"
REPLAYED_TOO_OFTEN = f"replayed more than {REPLAY_LIMIT} times"

# After an offset reset the same dead letter comes again: the stored row does not change. After a topic was deleted and
# created again another message may have the same offset: it replaces the row. For an equal row the INSERT is skipped
# completely, because it would wait for whoever has locked the row.
_INSERT = """
INSERT INTO dead_letters AS stored (topic, partition, kafka_offset, key, payload, headers, reason, errors, subject,
                                    produced_at, batch_id, consumer_group, epoch, replay_count, settled_count,
                                    publish_error, failed_at)
SELECT fresh.*, statement_timestamp()
FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bytea[], $5::bytea[], $6::text[]::jsonb[], $7::text[],
            $8::text[]::jsonb[], $9::text[], $10::timestamptz[], $11::uuid[], $12::text[], $13::int[], $14::int[],
            $15::int[], $16::text[])
    AS fresh (topic, partition, kafka_offset, key, payload, headers, reason, errors, subject, produced_at, batch_id,
              consumer_group)
WHERE NOT EXISTS (
    SELECT FROM dead_letters d
    WHERE (d.consumer_group, d.topic, d.partition, d.kafka_offset)
          = (fresh.consumer_group, fresh.topic, fresh.partition, fresh.kafka_offset)
      AND (d.payload, d.produced_at) IS NOT DISTINCT FROM (fresh.payload, fresh.produced_at)
)
ON CONFLICT (consumer_group, topic, partition, kafka_offset) DO UPDATE
SET key = excluded.key, payload = excluded.payload, headers = excluded.headers, reason = excluded.reason,
    errors = excluded.errors, subject = excluded.subject, produced_at = excluded.produced_at,
    failed_at = excluded.failed_at, batch_id = excluded.batch_id, epoch = excluded.epoch, published_at = NULL,
    publish_error = excluded.publish_error, resolved_at = NULL,
    replay_count = excluded.replay_count, settled_count = excluded.settled_count, replayed_at = NULL
WHERE (stored.payload, stored.produced_at) IS DISTINCT FROM (excluded.payload, excluded.produced_at)
"""
_MESSAGE = """
d.consumer_group, d.partition, d.kafka_offset, d.epoch, d.produced_at, d.subject, d.replay_count,
sha256(d.payload) AS digest
"""
# Rows are locked in the order of the key: two batches with the same dead letters wait and do not deadlock.
_LOCK = f"""
SELECT {_MESSAGE} FROM dead_letters d
JOIN unnest($2::text[], $3::int[], $4::bigint[]) AS named (consumer_group, partition, kafka_offset)
    ON d.consumer_group = named.consumer_group AND d.partition = named.partition AND d.kafka_offset = named.kafka_offset
WHERE d.topic = $1 ORDER BY d.consumer_group, d.partition, d.kafka_offset FOR UPDATE OF d
"""
_AT_PLACES = f"""
SELECT {_MESSAGE} FROM dead_letters d JOIN unnest($2::int[], $3::bigint[]) AS named (partition, kafka_offset)
    ON d.partition = named.partition AND d.kafka_offset = named.kafka_offset
WHERE d.topic = $1 ORDER BY d.consumer_group, d.partition, d.kafka_offset
"""
_RESOLVE = """
UPDATE dead_letters d
SET resolved_at = coalesce(d.resolved_at, clock_timestamp()), replay_count = greatest(d.replay_count, replay.count),
    settled_count = greatest(d.settled_count, replay.count)
FROM unnest($2::text[], $3::int[], $4::bigint[], $5::int[]) AS replay (consumer_group, partition, kafka_offset, count)
WHERE d.topic = $1 AND d.consumer_group = replay.consumer_group AND d.partition = replay.partition
  AND d.kafka_offset = replay.kafka_offset
"""
# A replay whose count is not higher than the last one changes nothing: it is the same replay consumed again, or an
# unchanged copy from the dead-letter topic.
_REJECT_AGAIN = """
UPDATE dead_letters d
SET reason = replay.reason, errors = replay.errors, subject = coalesce(replay.subject, d.subject),
    failed_at = statement_timestamp(), batch_id = $10, resolved_at = NULL, published_at = NULL,
    publish_error = replay.publish_error, replay_count = greatest(d.replay_count, replay.count),
    settled_count = replay.count
FROM unnest($2::text[], $3::int[], $4::bigint[], $5::int[], $6::text[], $7::text[]::jsonb[], $8::text[], $9::text[])
     AS replay (consumer_group, partition, kafka_offset, count, reason, errors, subject, publish_error)
WHERE d.topic = $1 AND d.consumer_group = replay.consumer_group AND d.partition = replay.partition
  AND d.kafka_offset = replay.kafka_offset AND replay.count > d.settled_count
"""
LETTER_BYTES = "coalesce(octet_length(payload), 0) + coalesce(octet_length(key), 0) + octet_length(headers::text)"
"""An SQL expression for the size of a dead letter in bytes. `fetch_letters` limits its pages by it."""
_LETTERS = """
SELECT d.* FROM dead_letters d JOIN unnest($3::int[], $4::bigint[]) AS wanted (partition, kafka_offset)
    ON d.partition = wanted.partition AND d.kafka_offset = wanted.kafka_offset
WHERE d.consumer_group = $1 AND d.topic = $2 ORDER BY d.partition, d.kafka_offset
"""


@attrs.frozen
class Owner:
    """The owner of dead letters: a consumer group and the topic it reads."""

    group: str
    topic: str


async def insert_dead_letters(
    connection: Connection, group: str, batch: Batch[T], rejected: list[tuple[Record, Rejected, int]]
) -> None:
    """Store rejected records of a batch in its transaction. The third value of each is its replay count, usually 0."""
    rows = [
        (
            batch.topic,
            record.partition,
            record.offset,
            *stored_content(record, verdict),
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


async def lock_letters(connection: Connection, topic: str, keys: list[LetterKey]) -> dict[LetterKey, Any]:
    """Lock the dead letters with these keys, and return their rows: with the payload's SHA-256, not the payload."""
    rows = await connection.fetch(_LOCK, topic, *_columns(sorted(keys), 3))
    return {(row["consumer_group"], row["partition"], row["kafka_offset"]): row for row in rows}


async def letters_at(connection: Connection, topic: str, places: list[Place]) -> dict[Place, list[Any]]:
    """Return the same rows as `lock_letters`, but of all groups, grouped by place and without a lock."""
    rows: dict[Place, list[Any]] = {}
    for row in await connection.fetch(_AT_PLACES, topic, *_columns(places, 2)):
        rows.setdefault((row["partition"], row["kafka_offset"]), []).append(row)
    return rows


async def resolve_letters(connection: Connection, topic: str, counts: Mapping[LetterKey, int]) -> None:
    """Resolve dead letters whose replays were accepted. `counts` has the number of the replay for each of them."""
    await connection.execute(_RESOLVE, topic, *_columns([(*key, count) for key, count in counts.items()], 4))


async def reject_letters_again(
    connection: Connection, batch: Batch[T], verdicts: Mapping[LetterKey, tuple[int, Rejected]]
) -> None:
    """Store the verdicts on rejected replays in their dead letters, which will be published again.

    `verdicts` has the number of the replay and the rejection for each dead letter.
    """
    rows = [
        (*key, count, verdict.reason, _encode_errors(verdict), verdict.subject, _publish_error(count))
        for key, (count, verdict) in verdicts.items()
    ]
    await connection.execute(_REJECT_AGAIN, batch.topic, *_columns(rows, 8), batch.batch_id)


def _encode_errors(verdict: Rejected) -> str:
    return json.encode([attrs.asdict(error) for error in verdict.errors]).decode()


def _publish_error(replays: int) -> str | None:
    return REPLAYED_TOO_OFTEN if replays > REPLAY_LIMIT else None


def _columns(rows: list[Any], width: int) -> list[list[Any]]:
    return [[row[index] for row in rows] for index in range(width)]


async def fetch_letters(connection: Connection, owner: Owner, sized: list[Any]) -> list[Any]:
    """Return the complete rows of the first dead letters in `sized`, sorted by place: up to `PAGE_BYTES`, at least one.

    `sized` are rows with `partition`, `kafka_offset` and `size` (`LETTER_BYTES`).
    """
    page = first_bytes(sized, PAGE_BYTES)
    if not page:
        return []
    return await connection.fetch(_LETTERS, owner.group, owner.topic, *places_of(page))


def places_of(letters: list[Any]) -> tuple[list[int], list[int]]:
    """Return the partitions and the offsets of dead letters, as arguments of a statement."""
    return [letter["partition"] for letter in letters], [letter["kafka_offset"] for letter in letters]


def first_bytes(rows: list[Any], limit: int) -> list[Any]:
    """Return the first rows whose `size` is at most `limit` bytes in total, but at least one."""
    taken: list[Any] = []
    total = 0
    for row in rows:
        total += row["size"]
        if taken and total > limit:
            break
        taken.append(row)
    return taken
