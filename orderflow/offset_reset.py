"""Moves the stored offsets of a group, and finds out whether its topic was created anew meanwhile."""

import asyncio
from typing import Any

import attrs
from aiokafka import AIOKafkaConsumer, TopicPartition
from asyncpg import Connection

from engine.kafka_records import take_any_header_name
from engine.offsets import checksum
from orderflow.brokers import list_partitions
from orderflow.connections import kafka_options
from orderflow.exits import Failed
from orderflow.settings import Settings

READ_TIMEOUT_S = 10.0
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
    places = await _places(settings, partition)
    take_any_header_name()
    consumer = AIOKafkaConsumer(enable_auto_commit=False, auto_offset_reset="none", **kafka_options(settings))
    await consumer.start()
    try:
        begin, end = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        targets = {place: _target(place, target, begin[place], end[place]) for place in places}
        changed = {
            place: await _topic_changed(consumer, place, rows.get(place.partition), begin, end) for place in places
        }
    finally:
        await consumer.stop()
    resets = []
    for place, offset in targets.items():
        row = rows.get(place.partition)
        previous = None if row is None else row["next_offset"]
        consumed_to = begin[place]
        if previous is not None and not changed[place] and begin[place] <= previous <= end[place]:
            consumed_to = previous
        skipped = max(0, offset - consumed_to)
        resets.append(Reset(place.partition, previous, offset, changed[place], skipped))
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


async def _places(settings: Settings, partition: int | None) -> list[TopicPartition]:
    partitions = await list_partitions(settings, settings.kafka_topic)
    if partition is not None and partition not in partitions:
        raise Failed(f"the topic {settings.kafka_topic!r} has no partition {partition}: it has {partitions}")
    return [TopicPartition(settings.kafka_topic, one) for one in partitions if partition in {None, one}]


def _target(place: TopicPartition, target: str | int, begin: int, end: int) -> int:
    offset = {"earliest": begin, "latest": end}.get(str(target), target)
    if not isinstance(offset, int) or not begin <= offset <= end:
        raise Failed(f"partition {place.partition} has offsets {begin} to {end}, and {target} is not among them")
    return offset


async def _topic_changed(
    consumer: Any, place: TopicPartition, row: Any, begin: dict[Any, int], end: dict[Any, int]
) -> bool:
    """Whether the last record that was consumed is another one now."""
    if row is None or row["last_offset"] is None or row["last_offset"] < begin[place]:
        return False
    if row["last_offset"] >= end[place]:
        return True
    consumer.assign([place])
    consumer.seek(place, row["last_offset"])
    async with asyncio.timeout(READ_TIMEOUT_S):
        record = await consumer.getone(place)
    same = record.offset != row["last_offset"] or (
        (record.timestamp, checksum(record)) == (row["last_timestamp"], row["last_checksum"])
    )
    return not same
