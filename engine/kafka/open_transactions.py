"""What open transactions hold back: messages that are in the topic and cannot be consumed before a transaction ends."""

from collections.abc import Mapping
from contextlib import suppress

import attrs
from aiokafka.errors import KafkaError

from engine.kafka.lag import age_s, held_messages, plausible
from engine.kafka.topic_offsets import READ_UNCOMMITTED, TopicOffsets

HANGING_S = 15 * 60.0
"""A transaction that is open for longer will hardly end by itself.

Brokers let no producer ask for more time than this (`transaction.max.timeout.ms`), unless they are told to.
"""


@attrs.frozen
class Held:
    """So many messages of a partition are held back, from `offset` on: where the oldest open transaction begins.

    The first of them is `seconds` old at most; None: nothing tells.
    """

    offset: int
    messages: int
    seconds: float | None

    @property
    def hangs(self) -> bool:
        """Whether that is longer than a transaction takes."""
        return self.seconds is not None and self.seconds > HANGING_S


class OpenTransactions:
    """Looks for messages that are held back, again and again, by the offsets that `offsets` asks for."""

    def __init__(self, offsets: TopicOffsets) -> None:
        self._offsets = offsets
        self._since: dict[int, tuple[int, int | None]] = {}

    async def look(self, now_s: float) -> dict[int, Held]:
        """Return what is held, by partition. `now_s` is in seconds since the epoch.

        Raises `KafkaError` or `OSError` when no broker tells.
        """
        highs = await self._offsets.fetch(isolation=READ_UNCOMMITTED)
        ends = await self._offsets.fetch()
        firsts = {
            partition: (end, messages)
            for partition, end in ends.items()
            if end is not None and (messages := held_messages(end, highs.get(partition)))
        }
        await self._ask_since({partition: end for partition, (end, _) in firsts.items()}, now_s)
        return {
            partition: Held(end, messages, age_s(now_s, self._since.get(partition, (0, None))[1]))
            for partition, (end, messages) in firsts.items()
        }

    async def _ask_since(self, firsts: Mapping[int, int], now_s: float) -> None:
        known = {each: since for each, since in self._since.items() if firsts.get(each) == since[0]}
        self._since = known
        due = {partition: first for partition, first in firsts.items() if partition not in known}
        if not due:
            return
        with suppress(KafkaError, OSError):
            own = await self._offsets.fetch_timestamps(due, READ_UNCOMMITTED)
            # A record with an odd timestamp is no older than the one before it.
            before = await self._offsets.fetch_timestamps({each: max(0, first - 1) for each, first in due.items()})
            for partition, timestamp in own.items():
                found = [plausible(each, now_s) for each in (timestamp, before.get(partition))]
                latest = max((each for each in found if each is not None), default=None)
                self._since[partition] = (due[partition], latest)

    async def close(self) -> None:
        """Close what is kept between two looks."""
        await self._offsets.close()
