"""What PostgreSQL knows of the cache: of which changed orders it may hold an old answer, and which batches it has.

A new order is not noted: where the cache lacks it, a lookup asks PostgreSQL.
"""

from collections.abc import Sequence
from uuid import UUID

import attrs
from asyncpg import Connection

_NOTE = "INSERT INTO cache_pending (id, batch_id, order_uids) VALUES ($1, $2, $3)"
# What is locked is left: another worker is at the same notes, and deletes them; or the batch itself is being deleted.
_FOLLOWED = """
WITH followed AS (
    DELETE FROM cache_pending WHERE id IN (
        SELECT id FROM cache_pending WHERE id = ANY($1::uuid[]) FOR UPDATE SKIP LOCKED)
)
INSERT INTO cached_batches (batch_id)
SELECT batch_id FROM batches WHERE batch_id = ANY($2::uuid[]) ORDER BY batch_id FOR KEY SHARE SKIP LOCKED
ON CONFLICT DO NOTHING
"""
# SKIP LOCKED: several workers look for the same work, and each piece needs it once.
_PENDING = """
SELECT id, batch_id, order_uids FROM cache_pending
WHERE committed_at < now() - make_interval(secs => $1)
ORDER BY committed_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""
# A worker of the build before notes the same in `batches`. Other pipelines' rows there are none of ours.
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
_AT_ONCE = 1000
_EXPIRE = """
DELETE FROM cache_pending WHERE id IN (
    SELECT id FROM cache_pending WHERE committed_at < now() - make_interval(secs => $1)
    ORDER BY committed_at LIMIT $2 FOR UPDATE SKIP LOCKED)
"""


@attrs.frozen
class PendingChange:
    """Orders that one transaction changed, by uid. `id` names the note; `batch_id` is the batch that changed them."""

    id: UUID
    batch_id: UUID
    order_uids: list[str]


async def note_change(connection: Connection, change: PendingChange) -> None:
    """Note, in the transaction that changes the orders, that the cache has not followed yet."""
    await connection.execute(_NOTE, change.id, change.batch_id, change.order_uids)


async def mark_followed(
    connection: Connection, notes: Sequence[UUID], batches: Sequence[UUID], timeout_s: float | None = None
) -> None:
    """Delete these notes: the cache has followed. `batches` are those that it holds now."""
    await connection.execute(_FOLLOWED, notes, batches, timeout=timeout_s)


async def lock_pending(connection: Connection, older_than_s: float, limit: int) -> list[PendingChange]:
    """Return the oldest notes that nobody else works on, locked until the end of the transaction."""
    return [PendingChange(*row) for row in await connection.fetch(_PENDING, older_than_s, limit)]


async def adopt_older_notes(connection: Connection, group: str, topic: str, older_than_s: float) -> None:
    """Take over what workers of the build before have noted of this topic, and not followed up on."""
    await connection.execute(_ADOPT, older_than_s, _AT_ONCE, group, topic)


async def expire_notes(connection: Connection, ttl_s: float) -> bool:
    """Delete notes that are older than any answer in the cache can be. Returns whether there may be more.

    So a long outage of Redis keeps no more than that.
    """
    tag = await connection.execute(_EXPIRE, ttl_s, _AT_ONCE)
    return int(tag.split()[-1]) == _AT_ONCE
