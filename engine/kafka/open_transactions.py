"""Messages in open transactions: they are in the topic, but cannot be consumed before the transaction ends."""

from collections.abc import Mapping
from contextlib import suppress

import attrs
from aiokafka.errors import KafkaError

from engine.kafka.lag import age_s, held_messages, plausible
from engine.kafka.topic_offsets import READ_UNCOMMITTED, TopicOffsets

HANGING_S = 15 * 60.0
"""A transaction that is open for longer than this counts as hanging: it will probably not end by itself.

This is the default of the broker's limit for transaction timeouts (`transaction.max.timeout.ms`).
"""


@attrs.frozen
class Held:
    """The messages of a partition that cannot be consumed yet. The oldest open transaction starts at `offset`.

    The first of the messages is at most `seconds` old. None means that the age is not known.
    """

    offset: int
    messages: int
    seconds: float | None

    @property
    def hangs(self) -> bool:
        """Whether the transaction is hanging: it is open for longer than `HANGING_S`."""
        return self.seconds is not None and self.seconds > HANGING_S


class OpenTransactions:
    """Finds the messages in open transactions. It remembers since when they have been held between calls."""

    def __init__(self, offsets: TopicOffsets) -> None:
        self._offsets = offsets
        self._since: dict[int, tuple[int, int | None]] = {}

    async def look(self, now_s: float) -> dict[int, Held]:
        """Return the held messages by partition. `now_s` is in seconds since the epoch.

        Raises `KafkaError` or `OSError` if no broker answers.
        """
        highs = await self._offsets.fetch(isolation=READ_UNCOMMITTED)
        ends = await self._offsets.fetch()
        firsts = {
            partition: (end, messages)
            for partition, end in ends.items()
            if end is not None and (messages := held_messages(end, highs.get(partition)))
        }
        await self._fetch_since({partition: end for partition, (end, _) in firsts.items()}, now_s)
        return {
            partition: Held(end, messages, age_s(now_s, self._since.get(partition, (0, None))[1]))
            for partition, (end, messages) in firsts.items()
        }

    async def _fetch_since(self, firsts: Mapping[int, int], now_s: float) -> None:
        known = {partition: since for partition, since in self._since.items() if firsts.get(partition) == since[0]}
        self._since = known
        due = {partition: first for partition, first in firsts.items() if partition not in known}
        if not due:
            return
        with suppress(KafkaError, OSError):
            own = await self._offsets.fetch_timestamps(due, READ_UNCOMMITTED)
            # A record with a wrong timestamp is not older than the record before it.
            previous = {partition: max(0, first - 1) for partition, first in due.items()}
            before = await self._offsets.fetch_timestamps(previous)
            for partition, timestamp in own.items():
                timestamps = [plausible(found_ms, now_s) for found_ms in (timestamp, before.get(partition))]
                latest = max((found_ms for found_ms in timestamps if found_ms is not None), default=None)
                self._since[partition] = (due[partition], latest)

    async def close(self) -> None:
        """Close the connections that are kept between calls."""
        await self._offsets.close()
