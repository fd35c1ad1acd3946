"""The begin and end offsets of a topic's partitions. A partition without a leader does not affect the others."""

import asyncio
from collections.abc import Iterable

import attrs
from aiokafka.errors import LeaderNotAvailableError, for_code
from aiokafka.protocol.offset import OffsetRequest

from engine.kafka.brokers import TROUBLE, Brokers
from engine.kafka.topic_offsets import CONSUMER, EARLIEST, LATEST, READ_UNCOMMITTED


@attrs.frozen
class LogBounds:
    """The first offset of a partition's log, and the offset after its last record (with open transactions)."""

    begin: int
    end: int


async def fetch_log_bounds(
    brokers: Brokers, topic: str, partitions: Iterable[int]
) -> dict[int, LogBounds | BaseException]:
    """Return the bounds of each partition, or the error of Kafka or of the network for which they are not known."""
    bounds: dict[int, LogBounds | BaseException] = {
        partition: LeaderNotAvailableError(partition) for partition in partitions
    }
    by_leader = brokers.by_leader(bounds)
    for answers in await asyncio.gather(*(_ask(brokers, topic, *led) for led in by_leader.items())):
        bounds |= answers
    return bounds


async def _ask(
    brokers: Brokers, topic: str, leader: int, partitions: list[int]
) -> dict[int, LogBounds | BaseException]:
    try:
        # The begin first: then the bounds are consistent even if the log grows between the two answers.
        begins = await _offsets(brokers, topic, leader, partitions, EARLIEST)
        ends = await _offsets(brokers, topic, leader, partitions, LATEST)
    except TROUBLE as error:
        return dict.fromkeys(partitions, error)
    bounds: dict[int, LogBounds | BaseException] = {}
    for partition in partitions:
        begin, end = begins[partition], ends[partition]
        if isinstance(begin, int) and isinstance(end, int):
            bounds[partition] = LogBounds(begin, end)
        else:
            bounds[partition] = begin if isinstance(begin, BaseException) else end  # type: ignore[assignment]
    return bounds


async def _offsets(
    brokers: Brokers, topic: str, leader: int, partitions: list[int], which: int
) -> dict[int, int | BaseException]:
    rows = [(partition, which) for partition in partitions]
    request = OffsetRequest(CONSUMER, READ_UNCOMMITTED, [(topic, rows)])
    answer = await brokers.send(leader, request, "offsets")
    return {
        partition: for_code(code)(partition) if code else offset
        for _, offsets in answer.topics
        for partition, code, _, offset in offsets
    }
