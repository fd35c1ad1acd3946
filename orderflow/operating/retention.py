"""Deletes resolved dead letters and rows of old batches on request, in steps with a limited number of rows.

A running engine deletes batches older than BATCH_HISTORY_S by itself (`engine/postgres/batches.py`).
"""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import attrs
from asyncpg import Connection

from engine.postgres.bookkeeping import local_transaction
from orderflow.start.settings import Settings

STEP_ROWS = 1000
"""How many rows one transaction deletes. It is small, so that other sessions do not wait long for row locks."""
KEPT_BATCHES = 1000
"""How many of the newest batches of a group are never deleted."""

# A letter that is not yet published to the dead-letter topic is not deleted. A letter that was replayed recently is not
# deleted either: if its replay is consumed without the letter, the replay counts as a new message. The letters of all
# groups are deleted, because nobody runs this for a group that no longer exists.
_OLD_LETTERS = """
dead_letters WHERE resolved_at < $1 AND topic = $2 AND (published_at IS NOT NULL OR publish_error IS NOT NULL)
AND (replayed_at IS NULL OR replayed_at < $1)
"""
# Workers of an older build may have noted here which cache entries are outdated.
_OLD_BATCHES = """
batches WHERE committed_at < $1 AND topic = $2 AND consumer_group = $3
AND (cached_at IS NOT NULL OR changed_keys = '{}')
"""
# SKIP LOCKED: a locked row is in use. It is deleted by a later run.
_DELETE_LETTERS = f"""
WITH old AS (
    SELECT consumer_group, partition, kafka_offset FROM {_OLD_LETTERS} AND resolved_at >= $3
    ORDER BY resolved_at LIMIT $4 FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM dead_letters d USING old
    WHERE d.consumer_group = old.consumer_group AND d.topic = $2 AND d.partition = old.partition
      AND d.kafka_offset = old.kafka_offset RETURNING d.resolved_at
)
SELECT count(*), max(resolved_at) AS last FROM deleted
"""
_DELETE_BATCHES = f"""
WITH old AS (
    SELECT batch_id FROM {_OLD_BATCHES} AND committed_at >= $4
    ORDER BY committed_at LIMIT $5 FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM batches b USING old WHERE b.batch_id = old.batch_id RETURNING b.committed_at
)
SELECT count(*), max(committed_at) AS last FROM deleted
"""
_COUNT_LETTERS = f"SELECT count(*) FROM {_OLD_LETTERS}"
_COUNT_BATCHES = f"SELECT count(*) FROM {_OLD_BATCHES}"
_OLDEST_KEPT = f"""
SELECT committed_at FROM batches WHERE topic = $1 AND consumer_group = $2
ORDER BY committed_at DESC OFFSET {KEPT_BATCHES - 1} LIMIT 1
"""
_BEGINNING = datetime.fromtimestamp(0, UTC)


@attrs.define
class Pruned:
    """How many rows were deleted, or would be deleted."""

    letters: int = 0
    batches: int = 0


async def count_old(connection: Connection, settings: Settings, before: datetime) -> Pruned:
    """Count the rows that `delete_old` would delete."""
    letters = await connection.fetchval(_COUNT_LETTERS, before, settings.kafka_topic)
    oldest_kept = await _oldest_kept(connection, settings)
    if oldest_kept is None:
        return Pruned(letters)
    scope = (min(before, oldest_kept), settings.kafka_topic, settings.kafka_group_id)
    return Pruned(letters, await connection.fetchval(_COUNT_BATCHES, *scope))


async def delete_old(
    connection: Connection, settings: Settings, before: datetime, pruned: Pruned, progress: Callable[[int], object]
) -> None:
    """Delete letters that were resolved before the time `before`, and batches that were committed before it.

    Deletes only batches of the topic and the group in the settings, and letters of this topic of all groups. Each step
    is a transaction. After each step its rows are added to `pruned`, so `pruned` is correct even after an error. Then
    `progress` is called with the number of rows.
    """
    async for count in _steps(connection, _DELETE_LETTERS, before, settings.kafka_topic):
        pruned.letters += count
        progress(count)
    oldest_kept = await _oldest_kept(connection, settings)
    if oldest_kept is None:
        return
    scope = (min(before, oldest_kept), settings.kafka_topic, settings.kafka_group_id)
    async for count in _steps(connection, _DELETE_BATCHES, *scope):
        pruned.batches += count
        progress(count)


async def _oldest_kept(connection: Connection, settings: Settings) -> Any:
    """Return the commit time of the oldest batch among the newest `KEPT_BATCHES`. None if there are fewer batches."""
    return await connection.fetchval(_OLDEST_KEPT, settings.kafka_topic, settings.kafka_group_id)


async def _steps(connection: Connection, delete: str, *scope: Any) -> AsyncIterator[int]:
    """Delete in steps, and yield the number of rows of each step. A later step does not check skipped rows again."""
    after = _BEGINNING
    while True:
        async with local_transaction(connection):
            [(count, last)] = await connection.fetch(delete, *scope, after, STEP_ROWS)
        if not count:
            return
        after = last
        yield count
