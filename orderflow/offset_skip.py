"""Moves a partition past a batch that nobody can read: finds where it ends, and says so only if that is certain."""

from struct import Struct
from typing import Any

import attrs
from aiokafka.errors import CorruptRecordException, OffsetOutOfRangeError
from asyncpg import Connection

from engine.brokers import Brokers, describe_kafka
from engine.log_bounds import LogBounds, fetch_log_bounds
from engine.record_batches import CorruptBatch, FetchedPartition, open_batch, split_batches
from engine.single_fetch import fetch_at
from orderflow.exits import Failed
from orderflow.offset_reset import connected, stored_offsets
from orderflow.settings import Settings

_MAX_RECORDS, _MAX_BYTES = 1000, 1 << 20
# Kafka's protocol guide, "Record Batch": the first offset, and behind length, epoch, magic, checksum and attributes how
# far the last offset is from it.
_FIRST_AND_LAST = Struct(">q15xi")
_SKIP = """
UPDATE consumed_offsets
SET next_offset = $5, last_offset = NULL, last_timestamp = NULL, last_checksum = NULL, updated_at = now()
WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND next_offset = $4
"""


@attrs.frozen
class Skip:
    """What is left out for ever: the offsets from `begin` to just before `end`, which is consumed next."""

    partition: int
    begin: int
    end: int


async def plan_skip(connection: Connection, settings: Settings, partition: int, target: int | None) -> Skip:
    """Find the broken batch that stops a partition, and its end, or take `target` as that. Changes nothing.

    Raises `Failed` when no broken batch stops the partition, or its end cannot be told for certain and none is given.
    """
    rows = {row["partition"]: row for row in await stored_offsets(connection, settings)}
    if partition not in rows:
        raise Failed(f"the group {settings.kafka_group_id!r} has no offset in partition {partition}: nothing to skip")
    begin = rows[partition]["next_offset"]
    async with connected(settings) as brokers:
        log = (await fetch_log_bounds(brokers, settings.kafka_topic, [partition]))[partition]
        if not isinstance(log, LogBounds):
            raise Failed(f"partition {partition} cannot be asked for its offsets now: {describe_kafka(log)}")
        fetched = await _broken_at(brokers, settings.kafka_topic, partition, begin, log)
        end = target if target is not None else await _end_of_first(brokers, fetched, log)
    if end is None:
        raise Failed(
            f"where the broken batch at offset {begin} of partition {partition} ends cannot be told for certain: "
            "say which offset is consumed next with --to OFFSET"
        )
    if not begin < end <= log.end:
        raise Failed(f"--to must be an offset from {begin + 1} to {log.end} in partition {partition}")
    return Skip(partition, begin, end)


async def apply_skip(connection: Connection, settings: Settings, skip: Skip) -> None:
    """Store the offset behind what is skipped. Raises `Failed` if a worker has gone on meanwhile."""
    key = (settings.kafka_group_id, settings.kafka_topic, skip.partition)
    if await connection.execute(_SKIP, *key, skip.begin, skip.end) != "UPDATE 1":
        raise Failed(f"the offset of partition {skip.partition} has moved meanwhile: nothing was changed")


async def _broken_at(
    brokers: Brokers, topic: str, partition: int, offset: int, log: LogBounds
) -> FetchedPartition | None:
    """Return what was fetched where the first batch is broken; None where the broker itself cannot read it."""
    other = Failed(
        f"no broken batch stops partition {partition} at its next offset, {offset}: nothing was changed. "
        f"`orderflow offsets reset --partition {partition} --to OFFSET` moves it anywhere"
    )
    if not log.begin <= offset < log.end:
        raise other
    try:
        fetched = await fetch_at(brokers, topic, partition, offset)
        first = next(fetched.pieces(_MAX_RECORDS, _MAX_BYTES), None)
    except CorruptRecordException:
        return None
    except CorruptBatch:
        return fetched
    except OffsetOutOfRangeError:
        raise other from None
    if first is None or _is_sound(fetched):
        raise other
    raise Failed(
        f"offsets {offset} to {first.next_offset - 1} of partition {partition} are sound and not consumed yet, and a "
        "broken batch follows: start the engine, and skip once it has stored them"
    )


def _is_sound(fetched: FetchedPartition) -> bool:
    try:
        list(fetched.pieces(_MAX_RECORDS, _MAX_BYTES))
    except CorruptBatch:
        return False
    return True


async def _end_of_first(brokers: Brokers, fetched: FetchedPartition | None, log: LogBounds) -> int | None:
    """Return the offset behind the first batch, which is broken; None unless what follows confirms what it says."""
    if fetched is None:
        return None
    first: Any = next(split_batches(fetched.data), None)
    if first is None or len(first) < _FIRST_AND_LAST.size:
        return None
    base, delta = _FIRST_AND_LAST.unpack_from(first)
    end: int = base + delta + 1
    if delta < 0 or not base <= fetched.position < end <= log.end:
        return None
    if end == log.end:
        return end
    try:
        follows = await fetch_at(brokers, fetched.topic, fetched.partition, end)
        following = open_batch(next(split_batches(follows.data)), end)
    except (CorruptBatch, CorruptRecordException, StopIteration):
        return None
    return end if getattr(following, "base_offset", None) == end else None
