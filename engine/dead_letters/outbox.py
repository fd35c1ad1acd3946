"""The outbox of the dead-letter topic: letters wait, are claimed by a publisher, and are marked when they were sent."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from asyncpg import Connection

from engine.dead_letters.store import LETTER_BYTES, PAGE_BYTES, PAGE_LETTERS, Owner, first_bytes, places_of
from engine.postgres.bookkeeping import local_transaction

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
ORDER BY {WAITING_ORDER} LIMIT $3
"""
_LOCK_FREE = f"{_FREE} FOR UPDATE SKIP LOCKED"
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
# A letter that was rejected again while it was being sent has another batch, or other counts in a batch of several: it
# waits for its new version to be sent.
# Rows are locked in the order of the key, as the batches do it.
_MARK = """
WITH sent AS (
    SELECT d.partition, d.kafka_offset, sent.error FROM dead_letters d
    JOIN unnest($3::int[], $4::bigint[], $5::uuid[], $6::int[], $7::text[])
            AS sent (partition, kafka_offset, batch_id, settled_count, error)
        ON d.partition = sent.partition AND d.kafka_offset = sent.kafka_offset AND d.batch_id = sent.batch_id
           AND d.settled_count IS NOT DISTINCT FROM sent.settled_count
    WHERE d.consumer_group = $1 AND d.topic = $2 AND d.published_at IS NULL AND d.publish_error IS NULL
    ORDER BY d.partition, d.kafka_offset FOR UPDATE OF d
)
UPDATE dead_letters d
SET published_at = CASE WHEN s.error IS NULL THEN clock_timestamp() END, publish_error = s.error,
    claimed_by = NULL, claimed_until = NULL
FROM sent s
WHERE d.consumer_group = $1 AND d.topic = $2 AND d.partition = s.partition AND d.kafka_offset = s.kafka_offset
"""


async def any_to_claim(connection: Connection, owner: Owner, lease_s: float) -> bool:
    """Return whether a dead letter waits that nobody has claimed. At rest this one statement is all that is asked."""
    return bool(await connection.fetch(_FREE, owner.group, owner.topic, 1, lease_s))


async def claim_letters(connection: Connection, owner: Owner, claimant: UUID, lease_s: float) -> list[Any]:
    """Claim a page of waiting dead letters for `lease_s` seconds, and return them sorted by place.

    Letters that another claimant has claimed are skipped until their claim ends. So are locked rows. It needs an open
    transaction.
    """
    free = await connection.fetch(_LOCK_FREE, owner.group, owner.topic, PAGE_LETTERS, lease_s)
    page = first_bytes(free, PAGE_BYTES)
    if not page:
        return []
    rows = await connection.fetch(_CLAIM, owner.group, owner.topic, *places_of(page), claimant, lease_s)
    return sorted(rows, key=lambda letter: (letter["partition"], letter["kafka_offset"]))


async def renew_claims(
    connection: Connection, owner: Owner, letters: list[Any], claimant: UUID, lease_s: float
) -> None:
    """Let the claims on dead letters end `lease_s` seconds from now."""
    await connection.execute(_RENEW, owner.group, owner.topic, *places_of(letters), claimant, lease_s)


async def release_letters(connection: Connection, owner: Owner, letters: list[Any], claimant: UUID) -> None:
    """End the claims on dead letters that were not published: others may send them at once."""
    await connection.execute(_RELEASE, owner.group, owner.topic, *places_of(letters), claimant)


async def count_waiting(connection: Connection, owner: Owner) -> int:
    """Return how many dead letters are not published yet."""
    count: int = await connection.fetchval(_COUNT_WAITING, owner.group, owner.topic)
    return count


async def wait_again(connection: Connection, owner: Owner, errors: Sequence[str]) -> None:
    """Queue dead letters for publishing again if one of `errors` was the reason why they were set aside."""
    async with local_transaction(connection):
        await connection.execute(_WAIT_AGAIN, owner.group, owner.topic, list(errors))


async def mark_sent(connection: Connection, owner: Owner, sent: list[tuple[Any, str | None]]) -> int:
    """Mark dead letters as published, or as set aside because of an error, and end their claims.

    `sent` are the claimed rows, each with the error or None. A letter that has changed since then is not marked.
    Returns how many were marked.
    """
    letters = [letter for letter, _ in sent]
    versions = [[letter[name] for letter in letters] for name in ("batch_id", "settled_count")]
    errors = [error for _, error in sent]
    done = await connection.execute(_MARK, owner.group, owner.topic, *places_of(letters), *versions, errors)
    return int(done.removeprefix("UPDATE "))
