"""The lag of every partition, asked of Kafka again and again: one definition for whoever tells of it."""

import time
from collections.abc import Mapping
from contextlib import suppress

import attrs
from aiokafka.errors import KafkaError

from engine.kafka.lag import Lag, Position, lag_messages, measure, plausible
from engine.kafka.topic_offsets import TopicOffsets

ASK_AGAIN_S = 5.0
"""How long the first message of a partition that moves on stands for those that come after it."""


@attrs.frozen
class _First:
    """The message that waited first: its offset, its timestamp, and by a steady clock when it was asked for."""

    offset: int
    timestamp: int | None
    asked_s: float


class LagReader:
    """Measures lag. It remembers when the messages that wait first were produced, and asks for no more than it must."""

    def __init__(self, offsets: TopicOffsets) -> None:
        self._offsets = offsets
        self._firsts: dict[int, _First] = {}

    async def read(self, stored: Mapping[int, Position], now_s: float) -> list[Lag]:
        """Return the lag by partition. `stored` are the positions, read before; `now_s` is in seconds since the epoch.

        Raises `KafkaError` or `OSError` when no broker tells how far the topic goes.
        """
        ends, highs, positions = await self._offsets.fetch_ends(stored)
        waiting = {
            partition: position.next_offset
            for partition, position in positions.items()
            if lag_messages(position, ends.get(partition))
        }
        await self._ask_firsts(waiting, now_s)
        firsts = {partition: first.timestamp for partition, first in self._firsts.items()}
        return measure(positions, ends, firsts, highs, now_s)

    async def _ask_firsts(self, waiting: Mapping[int, int], now_s: float) -> None:
        self._firsts = {partition: first for partition, first in self._firsts.items() if partition in waiting}
        asked_s = time.monotonic()
        due = {partition: offset for partition, offset in waiting.items() if self._is_due(partition, offset, asked_s)}
        if not due:
            return
        timestamps: dict[int, int | None] = {}
        with suppress(KafkaError, OSError):
            timestamps = await self._offsets.fetch_timestamps(due)
        for partition, timestamp in timestamps.items():
            # Judged now: in a while a time in the future will be one in the past.
            self._firsts[partition] = _First(due[partition], plausible(timestamp, now_s), asked_s)

    def _is_due(self, partition: int, offset: int, asked_s: float) -> bool:
        known = self._firsts.get(partition)
        if known is None or known.offset == offset:
            return known is None
        # An earlier message is no younger, and what is consumed meanwhile tells the age as well.
        return known.timestamp is None or asked_s - known.asked_s > ASK_AGAIN_S

    async def close(self) -> None:
        """Close what is kept between two readings."""
        await self._offsets.close()


def unknown_lag(stored: Mapping[int, Position]) -> list[Lag]:
    """Return what is known while Kafka is away."""
    return measure(stored, {}, {}, {}, 0.0)
