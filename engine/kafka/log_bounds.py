"""Where the logs of a topic's partitions begin and end, each by itself: one without a leader spoils no other."""

import asyncio
from collections.abc import Iterable

import attrs
from aiokafka.errors import LeaderNotAvailableError, for_code
from aiokafka.protocol.offset import OffsetRequest

from engine.kafka.brokers import TROUBLE, Brokers
from engine.kafka.topic_offsets import CONSUMER, EARLIEST, LATEST, READ_UNCOMMITTED


@attrs.frozen
class LogBounds:
    """The first offset of a partition's log, and the one behind its last record, open transactions included."""

    begin: int
    end: int


async def fetch_log_bounds(
    brokers: Brokers, topic: str, partitions: Iterable[int]
) -> dict[int, LogBounds | BaseException]:
    """Return each partition's bounds, or why they cannot be told just now: an error of Kafka's or of the network."""
    found: dict[int, LogBounds | BaseException] = {each: LeaderNotAvailableError(each) for each in partitions}
    by_leader = brokers.by_leader(found)
    for answers in await asyncio.gather(*(_ask(brokers, topic, *led) for led in by_leader.items())):
        found |= answers
    return found


async def _ask(
    brokers: Brokers, topic: str, leader: int, partitions: list[int]
) -> dict[int, LogBounds | BaseException]:
    try:
        # The beginning first: a log that grows between the two answers has bounds that fit each other.
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
            bounds[partition] = begin if isinstance(begin, BaseException) else ends[partition]  # type: ignore[assignment]
    return bounds


async def _offsets(
    brokers: Brokers, topic: str, leader: int, partitions: list[int], which: int
) -> dict[int, int | BaseException]:
    request = OffsetRequest(CONSUMER, READ_UNCOMMITTED, [(topic, [(one, which) for one in partitions])])
    answer = await brokers.send(leader, request, "offsets")
    return {
        partition: for_code(code)(partition) if code else offset
        for _, rows in answer.topics
        for partition, code, _, offset in rows
    }
