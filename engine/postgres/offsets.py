"""The stored offsets: rows in PostgreSQL, moved by compare-and-set inside the transaction of the batch."""

import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from uuid import UUID
from zlib import crc32

import attrs
from asyncpg import Connection, UndefinedObjectError
from asyncpg.pool import PoolConnectionProxy
from msgspec import json

from engine.handler import Statement
from engine.kafka.lag import Position
from engine.kafka.stored_offset import StoredOffset
from engine.postgres.bookkeeping import LOCAL_COMMIT, local_transaction
from engine.records import Record

TABLE = "consumed_offsets"
_OPEN_INSERT = """
INSERT INTO consumed_offsets (consumer_group, topic, partition, next_offset) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
"""
# FOR UPDATE waits until an open transaction of the previous owner has ended, and then reads the new values.
_OPEN_SELECT = """
SELECT next_offset, last_offset, last_timestamp, last_checksum, epoch FROM consumed_offsets
WHERE consumer_group = $1 AND topic = $2 AND partition = $3 FOR UPDATE
"""
# The same for many partitions at once. A row that is locked is left out. The INSERT must not reach existing rows: even
# with DO NOTHING it would wait for a transaction that is updating one of them.
_OPEN_INSERT_MANY = """
INSERT INTO consumed_offsets (consumer_group, topic, partition, next_offset)
SELECT $1, $2, new.* FROM unnest($3::int[], $4::int8[]) AS new (partition, next_offset)
WHERE NOT EXISTS (
    SELECT FROM consumed_offsets o WHERE o.consumer_group = $1 AND o.topic = $2 AND o.partition = new.partition
)
ON CONFLICT DO NOTHING
"""
_OPEN_SELECT_FREE = """
SELECT partition, next_offset, last_offset, last_timestamp, last_checksum, epoch FROM consumed_offsets
WHERE consumer_group = $1 AND topic = $2 AND partition = ANY($3) FOR UPDATE SKIP LOCKED
"""
_ADVANCE = """
UPDATE consumed_offsets
SET next_offset = $5, last_offset = $6, last_timestamp = $7, last_checksum = $8, write_id = $9, updated_at = now()
WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND next_offset = $4 RETURNING partition
"""
# Offsets without a record, for example of a transaction marker, do not change the columns of the last record.
_PASS = """
UPDATE consumed_offsets SET next_offset = $5, write_id = $6, updated_at = now()
WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND next_offset = $4 RETURNING partition
"""
# The same as `_ADVANCE` and `_PASS` for all partitions of a batch, as the first part of a joint statement. If one of
# them is not moved, the statement reads a setting that does not exist: its name is in the error, and says which.
_FENCE = """
step AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($4::text::jsonb)
         AS step (partition int, expected int8, next_offset int8, last_offset int8, last_timestamp int8,
                  last_checksum int8)
), moved AS (
    UPDATE consumed_offsets o
    SET next_offset = step.next_offset, last_offset = coalesce(step.last_offset, o.last_offset),
        last_timestamp = coalesce(step.last_timestamp, o.last_timestamp),
        last_checksum = coalesce(step.last_checksum, o.last_checksum), write_id = $3, updated_at = now()
    FROM step
    WHERE o.consumer_group = $1 AND o.topic = $2 AND o.partition = step.partition AND o.next_offset = step.expected
    RETURNING o.partition
), fence AS MATERIALIZED (
    SELECT CASE WHEN count(*) = 0 THEN true
                ELSE current_setting('orderflow.fenced_' || min(step.partition)) IS NULL END AS passed
    FROM step WHERE step.partition NOT IN (SELECT moved.partition FROM moved)
)
"""
FENCE_PASSED = "SELECT passed FROM fence"
_FENCED = re.compile(r"\borderflow\.fenced_(\d+)\b")
# FOR UPDATE waits for a COMMIT that has not ended yet, because its transaction has locked the rows of its offsets.
_LANDED = """
SELECT write_id FROM consumed_offsets
WHERE consumer_group = $1 AND topic = $2 AND partition = $3 FOR UPDATE
"""
_HAS_ROW = "SELECT 1 FROM batches WHERE batch_id = $1"
_POSITIONS = """
SELECT partition, next_offset, last_timestamp, extract(epoch FROM updated_at)::float8 FROM consumed_offsets
WHERE consumer_group = $1 AND topic = $2
"""


class Fenced(Exception):
    """Another owner moved the offset of `partition`. This worker must close the partition and read its offset again."""

    def __init__(self, partition: int) -> None:
        super().__init__(f"partition {partition} has another owner")
        self.partition = partition


@attrs.frozen
class Advance:
    """A move of a partition's offset from `expected` to `next_offset`. `last` is the last record between, if any."""

    partition: int
    expected: int
    next_offset: int
    last: Record | None


def checksum(record: Record) -> int:
    """Return a checksum of a record's value (CRC-32)."""
    return crc32(record.value or b"")


async def open_offset(connection: Connection, group: str, topic: str, partition: int, earliest: int) -> StoredOffset:
    """Lock and return the stored offset of a partition. If the group has no stored offset, store `earliest` first.

    Waits for an open transaction of the previous owner.
    """
    async with connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = '10s'")
        await connection.execute(LOCAL_COMMIT)
        await connection.execute(_OPEN_INSERT, group, topic, partition, earliest)
        row = await connection.fetchrow(_OPEN_SELECT, group, topic, partition)
    assert row is not None
    return StoredOffset(**dict(row))


async def open_free_offsets(
    connection: Connection, group: str, topic: str, earliest: Mapping[int, int]
) -> dict[int, StoredOffset]:
    """Do what `open_offset` does for each partition of `earliest`, except those whose row is locked: they are missing.

    The previous owner may be writing them. It takes as many round trips as one partition. Raises
    `LockNotAvailableError` if another transaction is inserting one of the rows, and does not end.
    """
    partitions = sorted(earliest)  # in this order, two openers cannot wait for each other
    async with connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = '1s'")
        await connection.execute(LOCAL_COMMIT)
        await connection.execute(_OPEN_INSERT_MANY, group, topic, partitions, [earliest[one] for one in partitions])
        rows = await connection.fetch(_OPEN_SELECT_FREE, group, topic, partitions)
    return {partition: StoredOffset(*stored) for partition, *stored in rows}


async def has_landed(connection: Connection, group: str, topic: str, write_id: UUID, partitions: Iterable[int]) -> bool:
    """Return whether one of these offsets was moved last by the transaction `write_id`. Waits until it has ended.

    Other transactions may have moved all of them since then: see `has_batch`.
    """
    async with local_transaction(connection):
        for partition in sorted(partitions):
            row = await connection.fetchrow(_LANDED, group, topic, partition)
            if row is not None and row["write_id"] == write_id:
                return True
    return False


async def has_batch(connection: Connection, batch_id: UUID) -> bool:
    """Return whether a transaction with the row of this batch was committed."""
    return await connection.fetchrow(_HAS_ROW, batch_id) is not None


async def advance_offsets(
    connection: Connection, group: str, topic: str, advances: list[Advance], write_id: UUID
) -> None:
    """Move the offset of each partition inside the open transaction, in the order of partitions. Raises `Fenced`.

    `write_id` is a new id for each transaction; `has_landed` looks for it. PostgreSQL is waited for once, not for each
    partition; once more where steps with and without a record follow each other.
    """
    in_order = sorted(advances, key=lambda advance: advance.partition)
    for passes, grouped in groupby(in_order, key=lambda advance: advance.last is None):
        steps = list(grouped)
        arguments = [(group, topic, *_numbers(step), write_id) for step in steps]
        moved = await connection.fetchmany(_PASS if passes else _ADVANCE, arguments)
        if len(moved) < len(steps):
            known = {row["partition"] for row in moved}
            raise Fenced(next(step.partition for step in steps if step.partition not in known))


def _numbers(step: Advance) -> tuple[int, ...]:
    moves = (step.partition, step.expected, step.next_offset)
    return moves if step.last is None else (*moves, step.last.offset, step.last.timestamp, checksum(step.last))


def fence(group: str, topic: str, advances: list[Advance], write_id: UUID) -> Statement:
    """Return what moves the offsets as `advance_offsets` does, as the first part of a joint statement.

    Its last table is `fence`, which the statement has to read. See `fenced`.
    """
    steps = [_step(advance) for advance in sorted(advances, key=lambda advance: advance.partition)]
    return Statement(_FENCE, (group, topic, write_id, json.encode(steps).decode()))


def _step(advance: Advance) -> dict[str, int]:
    step = {"partition": advance.partition, "expected": advance.expected, "next_offset": advance.next_offset}
    if (last := advance.last) is not None:
        step |= {"last_offset": last.offset, "last_timestamp": last.timestamp, "last_checksum": checksum(last)}
    return step


def fenced(error: BaseException) -> Fenced | None:
    """Return what an error of a statement with a `fence` says if a partition has another owner, else None."""
    found = _FENCED.search(str(error)) if isinstance(error, UndefinedObjectError) else None
    return found and Fenced(int(found[1]))


async def fetch_positions(
    connection: "Connection | PoolConnectionProxy", group: str, topic: str
) -> dict[int, Position]:
    """Return the position of each partition. Partitions without a stored offset are missing."""
    rows = await connection.fetch(_POSITIONS, group, topic)
    return {partition: Position(*position) for partition, *position in rows}
