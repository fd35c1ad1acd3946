"""Stores in PostgreSQL which changed orders may be outdated in the cache, and which batches were cached.

A change is noted in `cache_pending` until the cache has the new body. New orders are not noted: if an order is not in
the cache, a lookup reads it from PostgreSQL.
"""

from collections.abc import Sequence
from uuid import UUID

import attrs
from asyncpg import Connection

_NOTE = "INSERT INTO cache_pending (id, batch_id, order_uids) VALUES ($1, $2, $3)"
# SKIP LOCKED: another worker processes the same notes and will delete them, or the batch itself is being deleted.
_FOLLOWED = """
WITH followed AS (
    DELETE FROM cache_pending WHERE id IN (
        SELECT id FROM cache_pending WHERE id = ANY($1::uuid[]) FOR UPDATE SKIP LOCKED)
)
INSERT INTO cached_batches (batch_id)
SELECT batch_id FROM batches WHERE batch_id = ANY($2::uuid[]) ORDER BY batch_id FOR KEY SHARE SKIP LOCKED
ON CONFLICT DO NOTHING
"""
# SKIP LOCKED: several workers look for notes, and each note needs only one of them.
_PENDING = """
SELECT id, batch_id, order_uids FROM cache_pending
WHERE committed_at < now() - make_interval(secs => $1)
ORDER BY committed_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""
# Workers of an older build store these notes in `batches`. That table also has rows of other groups and topics.
_ADOPT = """
WITH undone AS (
    SELECT batch_id, changed_keys, committed_at FROM batches
    WHERE cached_at IS NULL AND committed_at < now() - make_interval(secs => $1)
          AND consumer_group = $3 AND topic = $4
    ORDER BY committed_at LIMIT $2 FOR UPDATE SKIP LOCKED
), adopted AS (
    UPDATE batches SET cached_at = batches.committed_at, changed_keys = '{}'
    FROM undone WHERE batches.batch_id = undone.batch_id
)
INSERT INTO cache_pending (id, batch_id, order_uids, committed_at)
SELECT batch_id, batch_id, changed_keys, committed_at FROM undone WHERE changed_keys <> '{}'
"""
_ANYTHING_LEFT = """
SELECT EXISTS (SELECT FROM cache_pending WHERE committed_at < now() - make_interval(secs => $1))
       OR EXISTS (SELECT FROM batches
                  WHERE cached_at IS NULL AND committed_at < now() - make_interval(secs => $1)
                        AND consumer_group = $2 AND topic = $3)
"""
_AT_ONCE = 1000
_EXPIRE = """
DELETE FROM cache_pending WHERE id IN (
    SELECT id FROM cache_pending WHERE committed_at < now() - make_interval(secs => $1)
    ORDER BY committed_at LIMIT $2 FOR UPDATE SKIP LOCKED)
"""


@attrs.frozen
class PendingChange:
    """The uids of the orders that one transaction changed. `id` is the id of the note, `batch_id` that of the batch."""

    id: UUID
    batch_id: UUID
    order_uids: list[str]


async def note_change(connection: Connection, change: PendingChange) -> None:
    """Store the note in the transaction that changes the orders: their cache entries are not updated yet."""
    await connection.execute(_NOTE, change.id, change.batch_id, change.order_uids)


async def mark_followed(
    connection: Connection, notes: Sequence[UUID], batches: Sequence[UUID], timeout_s: float | None = None
) -> None:
    """Delete these notes, because the cache is updated. Store that `batches` are cached."""
    await connection.execute(_FOLLOWED, notes, batches, timeout=timeout_s)


async def anything_left(connection: Connection, group: str, topic: str, older_than_s: float) -> bool:
    """Return whether there are old notes: in `cache_pending`, or of workers of an older build. One statement."""
    left: bool = await connection.fetchval(_ANYTHING_LEFT, older_than_s, group, topic)
    return left


async def lock_pending(connection: Connection, older_than_s: float, limit: int) -> list[PendingChange]:
    """Return the oldest notes that no other worker has locked. Locks them until the end of the transaction."""
    return [PendingChange(*row) for row in await connection.fetch(_PENDING, older_than_s, limit)]


async def adopt_older_notes(connection: Connection, group: str, topic: str, older_than_s: float) -> None:
    """Move notes of this group and topic that workers of an older build left in `batches` to `cache_pending`."""
    await connection.execute(_ADOPT, older_than_s, _AT_ONCE, group, topic)


async def expire_notes(connection: Connection, ttl_s: float) -> bool:
    """Delete notes that are older than any body in the cache can be. Returns whether there may be more.

    This limits the notes that a long outage of Redis leaves.
    """
    tag = await connection.execute(_EXPIRE, ttl_s, _AT_ONCE)
    return int(tag.split()[-1]) == _AT_ONCE
