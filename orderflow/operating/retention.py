"""Deletes resolved dead letters and rows of old batches on request, a bounded number at a time.

A running engine deletes batches older than BATCH_HISTORY_S by itself (`engine/postgres/batches.py`).
"""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import attrs
from asyncpg import Connection

from orderflow.start.settings import Settings

STEP_ROWS = 1000
"""How many rows one transaction deletes: nobody waits long for the lock of one of them."""
KEPT_BATCHES = 1000
"""The newest batches of a group stay, however old they are."""

# A letter that still waits for the dead-letter topic stays. So does one that was replayed lately: without its letter, a
# replay that is still on its way would be taken for a new message. Nobody prunes for a group that is gone: all groups'
# letters go.
_OLD_LETTERS = """
dead_letters WHERE resolved_at < $1 AND topic = $2 AND (published_at IS NOT NULL OR publish_error IS NOT NULL)
AND (replayed_at IS NULL OR replayed_at < $1)
"""
# A worker of the build before may have noted there which cached answers are old.
_OLD_BATCHES = """
batches WHERE committed_at < $1 AND topic = $2 AND consumer_group = $3
AND (cached_at IS NOT NULL OR changed_keys = '{}')
"""
# What is locked is in use, and stays until the next time.
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
    """How many rows were deleted, or would be."""

    letters: int = 0
    batches: int = 0


async def count_old(connection: Connection, settings: Settings, before: datetime) -> Pruned:
    """Count what `delete_old` would delete."""
    letters = await connection.fetchval(_COUNT_LETTERS, before, settings.kafka_topic)
    oldest_kept = await _oldest_kept(connection, settings)
    if oldest_kept is None:
        return Pruned(letters)
    scope = (min(before, oldest_kept), settings.kafka_topic, settings.kafka_group_id)
    return Pruned(letters, await connection.fetchval(_COUNT_BATCHES, *scope))


async def delete_old(
    connection: Connection, settings: Settings, before: datetime, pruned: Pruned, progress: Callable[[int], object]
) -> None:
    """Delete letters that were resolved before that moment, and batches that were committed before it.

    Only batches of the settings' topic and group, and letters of that topic, of all groups. `pruned` counts what is
    deleted, step by step: what was done stays done whatever ends this. `progress` is told the rows of each step.
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
    """Return when the oldest of the batches that stay anyway was committed; None if that is all of them."""
    return await connection.fetchval(_OLDEST_KEPT, settings.kafka_topic, settings.kafka_group_id)


async def _steps(connection: Connection, delete: str, *scope: Any) -> AsyncIterator[int]:
    """Delete step by step, and tell of each how many rows it were. What a step left is not looked at again."""
    after = _BEGINNING
    while True:
        [(count, last)] = await connection.fetch(delete, *scope, after, STEP_ROWS)
        if not count:
            return
        after = last
        yield count
