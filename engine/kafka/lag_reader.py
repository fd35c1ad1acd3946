"""Reads the lag of every partition from Kafka. Commands, HTTP and metrics all use this definition of lag."""

import time
from collections.abc import Mapping
from contextlib import suppress

import attrs
from aiokafka.errors import KafkaError

from engine.kafka.lag import Lag, Position, lag_messages, measure, plausible
from engine.kafka.topic_offsets import TopicOffsets

ASK_AGAIN_S = 5.0
"""How long the timestamp of a first waiting message is still used after the partition has moved on."""


@attrs.frozen
class _First:
    """The first waiting message: its offset, its timestamp, and when it was fetched (monotonic clock)."""

    offset: int
    timestamp: int | None
    fetched_s: float


class LagReader:
    """Measures lag. Caches the timestamps of the first waiting messages, to send few requests."""

    def __init__(self, offsets: TopicOffsets) -> None:
        self._offsets = offsets
        self._firsts: dict[int, _First] = {}

    async def read(self, stored: Mapping[int, Position], now_s: float) -> list[Lag]:
        """Return the lag of each partition. `stored` are the positions read before; `now_s` is in s since the epoch.

        Raises `KafkaError` or `OSError` if no broker returns the end offsets.
        """
        ends, highs, positions = await self._offsets.fetch_ends(stored)
        waiting = {
            partition: position.next_offset
            for partition, position in positions.items()
            if lag_messages(position, ends.get(partition))
        }
        await self._fetch_firsts(waiting, now_s)
        firsts = {partition: first.timestamp for partition, first in self._firsts.items()}
        return measure(positions, ends, firsts, highs, now_s)

    async def _fetch_firsts(self, waiting: Mapping[int, int], now_s: float) -> None:
        self._firsts = {partition: first for partition, first in self._firsts.items() if partition in waiting}
        fetched_s = time.monotonic()
        due = {partition: offset for partition, offset in waiting.items() if self._is_due(partition, offset, fetched_s)}
        if not due:
            return
        timestamps: dict[int, int | None] = {}
        with suppress(KafkaError, OSError):
            timestamps = await self._offsets.fetch_timestamps(due)
        for partition, timestamp in timestamps.items():
            # Checked now: a time that is in the future now will later be in the past.
            self._firsts[partition] = _First(due[partition], plausible(timestamp, now_s), fetched_s)

    def _is_due(self, partition: int, offset: int, now_s: float) -> bool:
        known = self._firsts.get(partition)
        if known is None or known.offset == offset:
            return known is None
        # An earlier message is at least as old, and the last consumed record limits the age as well.
        return known.timestamp is None or now_s - known.fetched_s > ASK_AGAIN_S

    async def close(self) -> None:
        """Close the connections that are kept between calls."""
        await self._offsets.close()


def unknown_lag(stored: Mapping[int, Position]) -> list[Lag]:
    """Return the lag while Kafka cannot be reached: only the positions are known."""
    return measure(stored, {}, {}, {}, 0.0)
