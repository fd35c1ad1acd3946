"""Where a topic's partitions begin and end, and when the record at an offset was produced, asked of their leaders."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record import MemoryRecords

from engine.kafka.lag import Position
from engine.kafka.topic_client import TopicClient, View

LATEST, EARLIEST = -1, -2
READ_UNCOMMITTED, READ_COMMITTED = 0, 1
CONSUMER = -1
_LOG_APPEND_TIME = 1


class TopicOffsets:
    """Asks for the offsets of one topic, through connections that are kept.

    What one partition's leader does not tell, because there is none or it is silent, is None; the others are told.
    """

    def __init__(self, options: Mapping[str, Any], topic: str, deadline_s: float) -> None:
        self._client = TopicClient(options, topic, deadline_s)
        self._topic = topic

    async def look(self) -> View:
        """Return what the brokers say of themselves and of the topic. Raises as `fetch` does."""
        return await self._client.look()

    async def fetch(self, which: int = LATEST, isolation: int = READ_COMMITTED) -> dict[int, int | None]:
        """Return the offset after the last record (or of the first, `EARLIEST`) by partition.

        With `READ_COMMITTED` that is the last one that can be consumed: what open transactions hold back is not
        counted. Raises `KafkaError` or `OSError` (a time-out is one) at the latest after the deadline, when nobody
        answers. Never creates the topic.
        """

        def question(partitions: list[int]) -> OffsetRequest:
            return OffsetRequest(CONSUMER, isolation, [(self._topic, [(each, which) for each in partitions])])

        offsets: dict[int, int | None] = dict.fromkeys(await self._client.partitions())
        for answer in await self._client.ask(question):
            for _, partitions in answer.topics:
                for partition, code, _, offset, *_ in partitions:
                    offsets[partition] = self._told(code, offset)
        if None in offsets.values():
            self._client.look_again()
        return offsets

    async def fetch_ends(
        self, stored: Mapping[int, Position]
    ) -> tuple[dict[int, int | None], dict[int, int | None], dict[int, Position]]:
        """Return each partition's end, its end with what open transactions hold back, and its position.

        `stored` are the positions that were read before; where nothing was consumed yet, the position is the
        partition's beginning. Raises as `fetch` does.
        """
        # In this order: asked for the other way round, what comes between would count as held back.
        highs = await self.fetch(isolation=READ_UNCOMMITTED)
        ends = await self.fetch()
        begins = await self.fetch(EARLIEST) if ends.keys() - stored.keys() else {}
        known = {partition: Position(begin) for partition, begin in begins.items() if begin is not None}
        return ends, highs, {**known, **stored}

    async def fetch_timestamps(
        self, offsets: Mapping[int, int], isolation: int = READ_COMMITTED
    ) -> dict[int, int | None]:
        """Return the timestamp (ms) of the batch that holds the record at each offset: that of its first record.

        So nothing is unpacked. None where the batch has none; what was not told is missing. Raises as `fetch` does.
        """

        def question(partitions: list[int]) -> FetchRequest:
            # One partition a request: so little room still brings one batch, the first, but none of others.
            return FetchRequest(0, 0, 1, isolation, [(self._topic, [(each, offsets[each], 1) for each in partitions])])

        timestamps: dict[int, int | None] = {}
        for answer in await self._client.ask(question, [[partition] for partition in offsets]):
            for _, partitions in answer.topics:
                for partition, code, *_, records in partitions:
                    if self._told(code, 0) is None:
                        continue
                    with suppress(KafkaError):  # a batch that is broken tells nothing
                        if (batch := _first_batch(records)) is not None:
                            timestamps[partition] = _timestamp(batch)
        return timestamps

    def _told(self, code: int, value: int) -> int | None:
        """Return the value that came with an error code: None where this partition cannot be asked just now."""
        if code == TopicAuthorizationFailedError.errno:
            raise TopicAuthorizationFailedError(self._topic)
        return None if code else value

    async def close(self) -> None:
        """Close the client. Closing twice is fine."""
        await self._client.close()


def _first_batch(records: bytes | None) -> Any:
    found = MemoryRecords(records) if records else None
    return found.next_batch() if found is not None and found.has_next() else None


def _timestamp(batch: Any) -> int | None:
    """Return a batch's time without unpacking it; None for one of a format that is older than Kafka 0.11."""
    if not hasattr(batch, "first_timestamp"):
        return None
    timestamp = int(batch.max_timestamp if batch.timestamp_type == _LOG_APPEND_TIME else batch.first_timestamp)
    return timestamp if timestamp >= 0 else None
