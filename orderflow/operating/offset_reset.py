"""Moves the stored offsets of a group, and finds out whether its topic was created anew meanwhile."""

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
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings

_SELECT = """
SELECT partition, next_offset, last_offset, last_timestamp, last_checksum, epoch, updated_at FROM consumed_offsets
WHERE consumer_group = $1 AND topic = $2 ORDER BY partition
"""
_RESET = """
INSERT INTO consumed_offsets AS stored (consumer_group, topic, partition, next_offset) VALUES ($1, $2, $3, $4)
ON CONFLICT (consumer_group, topic, partition) DO UPDATE
SET next_offset = $4, last_offset = NULL, last_timestamp = NULL, last_checksum = NULL,
    epoch = stored.epoch + $5, updated_at = now()
"""


@attrs.frozen
class Reset:
    """What is to be done to a partition. `previous` is None where the group has no offset.

    `skipped` is how many messages, as offsets count them, the group would never consume.
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
    """Find out what a reset to `earliest`, `latest` or a number means, for one partition or for all. Changes nothing.

    Raises `Failed` for a partition or an offset that the topic does not have.
    """
    rows = {row["partition"]: row for row in await stored_offsets(connection, settings)}
    async with connected(settings) as brokers:
        bounds = await _bounds(brokers, settings, partition)
        targets = {one: _target(one, target, log) for one, log in bounds.items()}
        changed = {one: await topic_changed(brokers, settings, rows.get(one), log) for one, log in bounds.items()}
    resets = []
    for one, offset in targets.items():
        log, row = bounds[one], rows.get(one)
        previous = None if row is None else row["next_offset"]
        consumed_to = log.begin
        if previous is not None and not changed[one] and log.begin <= previous <= log.end:
            consumed_to = previous
        resets.append(Reset(one, previous, offset, changed[one], max(0, offset - consumed_to)))
    return resets


async def apply_resets(connection: Connection, settings: Settings, resets: list[Reset]) -> None:
    """Store the offsets, all or none of them.

    A running engine notices with its next batch, which is fenced, and goes on from there. Where the topic turned out to
    have been created anew, the partition's epoch grows, so that its messages are told from the old topic's.
    """
    async with connection.transaction():
        for one in resets:
            place = (settings.kafka_group_id, settings.kafka_topic, one.partition)
            await connection.execute(_RESET, *place, one.next_offset, int(one.topic_changed))


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Brokers]:
    """Lend the brokers of the settings' topic. Raises `Failed` when they do not answer, or fail while they are used."""
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
    for one, found in (await fetch_log_bounds(brokers, settings.kafka_topic, wanted)).items():
        if not isinstance(found, LogBounds):
            raise Failed(f"partition {one} cannot be asked for its offsets now: {describe_kafka(found)}")
        bounds[one] = found
    return dict(sorted(bounds.items()))


def _target(partition: int, target: str | int, log: LogBounds) -> int:
    offset = {"earliest": log.begin, "latest": log.end}.get(str(target), target)
    if not isinstance(offset, int) or not log.begin <= offset <= log.end:
        raise Failed(f"partition {partition} has offsets {log.begin} to {log.end}, and {target} is not among them")
    return offset


async def topic_changed(brokers: Brokers, settings: Settings, row: Any, log: LogBounds) -> bool:
    """Whether the last record that was consumed is another one now. What cannot be read is not known to be another."""
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
