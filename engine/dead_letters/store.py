"""The table `dead_letters`: written in the transaction of the batch, and the outbox of the dead-letter topic."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import attrs
from asyncpg import Connection
from msgspec import json

from engine.dead_letters.reduced import stored_content
from engine.postgres.bookkeeping import local_transaction
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
WAITING = "published_at IS NULL AND publish_error IS NULL AND consumer_group = $1 AND topic = $2"
"""An SQL condition on rows of `dead_letters`: those of an owner ($1, $2) that are not published yet."""
WAITING_ORDER = "failed_at AT TIME ZONE 'UTC', partition, kafka_offset"
"""The order of waiting letters. Only their own index has this expression, so that the planner takes no other index.

PostgreSQL assumes that the topic of a letter and whether it waits are independent. If many letters of another topic
wait, it would otherwise expect to find some of this topic soon in an index over all letters, and read all of it.
"""
# A claim that ends too late was made before the clock was set back. It counts as expired.
_FREE = f"""
SELECT partition, kafka_offset, {LETTER_BYTES} AS size FROM dead_letters
WHERE {WAITING}
  AND (claimed_until BETWEEN clock_timestamp() AND clock_timestamp() + make_interval(secs => $4)) IS NOT TRUE
ORDER BY {WAITING_ORDER} LIMIT $3 FOR UPDATE SKIP LOCKED
"""
_CLAIM = """
UPDATE dead_letters d SET claimed_by = $5, claimed_until = clock_timestamp() + make_interval(secs => $6)
FROM unnest($3::int[], $4::bigint[]) AS wanted (partition, kafka_offset)
WHERE d.consumer_group = $1 AND d.topic = $2 AND d.partition = wanted.partition AND d.kafka_offset = wanted.kafka_offset
RETURNING d.*
"""
_LOCK_CLAIMED = """
WITH claimed AS (
    SELECT d.partition, d.kafka_offset FROM dead_letters d
    JOIN unnest($3::int[], $4::bigint[]) AS named (partition, kafka_offset)
        ON d.partition = named.partition AND d.kafka_offset = named.kafka_offset
    WHERE d.consumer_group = $1 AND d.topic = $2 AND d.claimed_by = $5
    ORDER BY d.partition, d.kafka_offset FOR UPDATE OF d
)
"""
_OF_CLAIMED = """
FROM claimed c
WHERE d.consumer_group = $1 AND d.topic = $2 AND d.partition = c.partition AND d.kafka_offset = c.kafka_offset
"""
_RENEW = f"""
{_LOCK_CLAIMED}
UPDATE dead_letters d SET claimed_until = clock_timestamp() + make_interval(secs => $6) {_OF_CLAIMED}
"""
_RELEASE = f"{_LOCK_CLAIMED} UPDATE dead_letters d SET claimed_by = NULL, claimed_until = NULL {_OF_CLAIMED}"
_COUNT_WAITING = f"SELECT count(*) FROM (SELECT FROM dead_letters WHERE {WAITING} ORDER BY {WAITING_ORDER}) AS waiting"
_WAIT_AGAIN = """
UPDATE dead_letters SET publish_error = NULL
WHERE consumer_group = $1 AND topic = $2 AND publish_error IS NOT NULL AND publish_error = ANY($3::text[])
  AND resolved_at IS NULL
"""
_LETTERS = """
SELECT d.* FROM dead_letters d JOIN unnest($3::int[], $4::bigint[]) AS wanted (partition, kafka_offset)
    ON d.partition = wanted.partition AND d.kafka_offset = wanted.kafka_offset
WHERE d.consumer_group = $1 AND d.topic = $2 ORDER BY d.partition, d.kafka_offset
"""
# A letter that was rejected again while it was being sent has another batch: it waits for its new version to be sent.
# Rows are locked in the order of the key, as the batches do it.
_MARK = """
WITH sent AS (
    SELECT d.partition, d.kafka_offset, sent.error FROM dead_letters d
    JOIN unnest($3::int[], $4::bigint[], $5::uuid[], $6::text[]) AS sent (partition, kafka_offset, batch_id, error)
        ON d.partition = sent.partition AND d.kafka_offset = sent.kafka_offset AND d.batch_id = sent.batch_id
    WHERE d.consumer_group = $1 AND d.topic = $2 AND d.published_at IS NULL AND d.publish_error IS NULL
    ORDER BY d.partition, d.kafka_offset FOR UPDATE OF d
)
UPDATE dead_letters d
SET published_at = CASE WHEN s.error IS NULL THEN clock_timestamp() END, publish_error = s.error,
    claimed_by = NULL, claimed_until = NULL
FROM sent s
WHERE d.consumer_group = $1 AND d.topic = $2 AND d.partition = s.partition AND d.kafka_offset = s.kafka_offset
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


async def claim_letters(connection: Connection, owner: Owner, claimant: UUID, lease_s: float) -> list[Any]:
    """Claim a page of waiting dead letters for `lease_s` seconds, and return them sorted by place.

    Letters that another claimant has claimed are skipped until their claim ends. So are locked rows.
    """
    async with connection.transaction():
        free = await connection.fetch(_FREE, owner.group, owner.topic, PAGE_LETTERS, lease_s)
        page = _first_bytes(free, PAGE_BYTES)
        if not page:
            return []
        rows = await connection.fetch(_CLAIM, owner.group, owner.topic, *_places(page), claimant, lease_s)
    return sorted(rows, key=lambda letter: (letter["partition"], letter["kafka_offset"]))


async def renew_claims(
    connection: Connection, owner: Owner, letters: list[Any], claimant: UUID, lease_s: float
) -> None:
    """Let the claims on dead letters end `lease_s` seconds from now."""
    await connection.execute(_RENEW, owner.group, owner.topic, *_places(letters), claimant, lease_s)


async def release_letters(connection: Connection, owner: Owner, letters: list[Any], claimant: UUID) -> None:
    """End the claims on dead letters that were not published: others may send them at once."""
    await connection.execute(_RELEASE, owner.group, owner.topic, *_places(letters), claimant)


async def count_waiting(connection: Connection, owner: Owner) -> int:
    """Return how many dead letters are not published yet."""
    count: int = await connection.fetchval(_COUNT_WAITING, owner.group, owner.topic)
    return count


async def wait_again(connection: Connection, owner: Owner, errors: Sequence[str]) -> None:
    """Queue dead letters for publishing again if one of `errors` was the reason why they were set aside."""
    async with local_transaction(connection):
        await connection.execute(_WAIT_AGAIN, owner.group, owner.topic, list(errors))


async def fetch_letters(connection: Connection, owner: Owner, sized: list[Any]) -> list[Any]:
    """Return the complete rows of the first dead letters in `sized`, sorted by place: up to `PAGE_BYTES`, at least one.

    `sized` are rows with `partition`, `kafka_offset` and `size` (`LETTER_BYTES`).
    """
    page = _first_bytes(sized, PAGE_BYTES)
    if not page:
        return []
    return await connection.fetch(_LETTERS, owner.group, owner.topic, *_places(page))


async def mark_sent(connection: Connection, owner: Owner, sent: list[tuple[Any, str | None]]) -> int:
    """Mark dead letters as published, or as set aside because of an error, and end their claims.

    `sent` are the claimed rows, each with the error or None. A letter that has changed since then is not marked.
    Returns how many were marked.
    """
    letters = [letter for letter, _ in sent]
    batches = [letter["batch_id"] for letter in letters]
    errors = [error for _, error in sent]
    done = await connection.execute(_MARK, owner.group, owner.topic, *_places(letters), batches, errors)
    return int(done.removeprefix("UPDATE "))


def _places(letters: list[Any]) -> tuple[list[int], list[int]]:
    return [letter["partition"] for letter in letters], [letter["kafka_offset"] for letter in letters]


def _first_bytes(rows: list[Any], limit: int) -> list[Any]:
    taken: list[Any] = []
    total = 0
    for row in rows:
        total += row["size"]
        if taken and total > limit:
            break
        taken.append(row)
    return taken
