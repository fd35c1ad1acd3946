"""Changes the stored offsets of a group, and detects that its topic was recreated."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
from asyncpg import Connection

from engine.kafka.brokers import TROUBLE, Brokers, describe_kafka
from engine.kafka.log_bounds import LogBounds, fetch_log_bounds
from engine.kafka.record_batches import CorruptBatch
from engine.kafka.single_fetch import fetch_at
from engine.postgres.offsets import checksum
from orderflow.exits import Failed
from orderflow.progress import progress_bar, told_if_slow
from orderflow.start.connections import kafka_options
from orderflow.start.database import telling_wait
from orderflow.start.settings import Settings

_SELECT = """
SELECT partition, next_offset, last_offset, last_timestamp, last_checksum, epoch, updated_at FROM consumed_offsets
WHERE consumer_group = $1 AND topic = $2 ORDER BY partition
"""
_PROGRESS_FROM = 100
_RESET = """
INSERT INTO consumed_offsets AS stored (consumer_group, topic, partition, next_offset) VALUES ($1, $2, $3, $4)
ON CONFLICT (consumer_group, topic, partition) DO UPDATE
SET next_offset = $4, last_offset = NULL, last_timestamp = NULL, last_checksum = NULL,
    epoch = stored.epoch + $5, updated_at = now()
"""


@attrs.frozen
class Reset:
    """The planned change of a partition. `previous` is None if the group has no offset.

    `skipped` is the number of offsets that the group would never consume.
    """

    partition: int
    previous: int | None
    next_offset: int
    topic_changed: bool
    skipped: int


async def stored_offsets(connection: Connection, settings: Settings) -> list[Any]:
    """Return the rows of the group's offsets in the topic, by partition."""
    return await connection.fetch(_SELECT, settings.kafka_group_id, settings.kafka_topic)


async def plan_resets(
    connection: Connection, settings: Settings, target: str | int, partition: int | None
) -> list[Reset]:
    """Plan a reset to `earliest`, `latest` or an offset, for one partition or for all (None). Changes nothing.

    Raises `Failed` for a partition or an offset that does not exist.
    """
    async with telling_wait(settings, connection):
        rows = {row["partition"]: row for row in await stored_offsets(connection, settings)}
    async with connected(settings) as brokers:
        async with told_if_slow("waiting for the offsets of the topic"):
            bounds = await _bounds(brokers, settings, partition)
        targets = {number: _target(number, target, log) for number, log in bounds.items()}
        changed = await _changed(brokers, settings, rows, bounds)
    resets = []
    for number, offset in targets.items():
        log, row = bounds[number], rows.get(number)
        previous = None if row is None else row["next_offset"]
        consumed_to = log.begin
        if previous is not None and not changed[number] and log.begin <= previous <= log.end:
            consumed_to = previous
        resets.append(Reset(number, previous, offset, changed[number], max(0, offset - consumed_to)))
    return resets


async def apply_resets(connection: Connection, settings: Settings, resets: list[Reset]) -> None:
    """Store all offsets in one transaction.

    A running engine notices at its next batch, which is fenced, and continues from the new offset. If the topic was
    recreated, the partition's epoch grows, which distinguishes its messages from the old topic's.
    """
    with progress_bar("Resetting", len(resets), shown=len(resets) >= _PROGRESS_FROM) as progress:
        async with connection.transaction():
            for reset in resets:
                key = (settings.kafka_group_id, settings.kafka_topic, reset.partition)
                await connection.execute(_RESET, *key, reset.next_offset, int(reset.topic_changed))
                progress(1)


async def _changed(
    brokers: Brokers, settings: Settings, rows: dict[int, Any], bounds: dict[int, LogBounds]
) -> dict[int, bool]:
    """Return for each partition whether its topic was recreated. Reads a record of each, so it may take long."""
    changed: dict[int, bool] = {}

    def doing() -> str:
        return f"comparing partitions with the topic ({len(changed)} of {len(bounds)})"

    async with told_if_slow(doing):
        for number, log in bounds.items():
            changed[number] = await topic_changed(brokers, settings, rows.get(number), log)
    return changed


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Brokers]:
    """Provide a client for the brokers of the topic. Raises `Failed` when they do not answer, or fail while in use."""
    brokers = Brokers(kafka_options(settings), settings.kafka_topic)
    try:
        await brokers.refresh()
        yield brokers
    except TROUBLE as error:
        raise Failed(f"Kafka at {', '.join(settings.kafka_bootstrap)} failed: {describe_kafka(error)}") from None
    finally:
        await brokers.close()


async def _bounds(brokers: Brokers, settings: Settings, partition: int | None) -> dict[int, LogBounds]:
    partitions = brokers.partitions()
    if partition is not None and partition not in partitions:
        raise Failed(f"the topic {settings.kafka_topic!r} has no partition {partition}: it has {partitions}")
    wanted = partitions if partition is None else [partition]
    bounds: dict[int, LogBounds] = {}
    for number, result in (await fetch_log_bounds(brokers, settings.kafka_topic, wanted)).items():
        if not isinstance(result, LogBounds):
            raise Failed(f"the offsets of partition {number} cannot be read now: {describe_kafka(result)}")
        bounds[number] = result
    return dict(sorted(bounds.items()))


def _target(partition: int, target: str | int, log: LogBounds) -> int:
    offset = {"earliest": log.begin, "latest": log.end}.get(str(target), target)
    if not isinstance(offset, int) or not log.begin <= offset <= log.end:
        raise Failed(f"partition {partition} has offsets {log.begin} to {log.end}: {target} is not one of them")
    return offset


async def topic_changed(brokers: Brokers, settings: Settings, row: Any, log: LogBounds) -> bool:
    """Return whether the record at the last consumed offset has changed. An unreadable record counts as unchanged."""
    if row is None or row["last_offset"] is None or row["last_offset"] < log.begin:
        return False
    if row["last_offset"] >= log.end:
        return True
    fetched = await fetch_at(brokers, settings.kafka_topic, row["partition"], row["last_offset"])
    try:
        first = next((piece.records[0] for piece in fetched.pieces(1, 1) if piece.records), None)
    except CorruptBatch:
        return False
    if first is None or first.offset != row["last_offset"]:
        return False
    return (first.timestamp, checksum(first)) != (row["last_timestamp"], row["last_checksum"])
