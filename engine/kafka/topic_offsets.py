"""Fetches the begin and end offsets of a topic's partitions, and timestamps of records, from the leaders."""

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
    """Fetches the offsets of one topic. It keeps its connections between calls.

    The value of a partition is None if it has no leader or the leader does not answer. Other partitions are not
    affected.
    """

    def __init__(self, options: Mapping[str, Any], topic: str, deadline_s: float) -> None:
        self._client = TopicClient(options, topic, deadline_s)
        self._topic = topic

    async def look(self) -> View:
        """Fetch the metadata of the cluster and the topic. Raises as `fetch` does."""
        return await self._client.look()

    async def fetch(self, which: int = LATEST, isolation: int = READ_COMMITTED) -> dict[int, int | None]:
        """Return, by partition, the offset after the last record, or with `EARLIEST` the offset of the first record.

        With `READ_COMMITTED` only records that can be consumed count (the last stable offset). Raises `KafkaError` or
        `OSError` (a timeout is one) within the deadline if no broker answers. Never creates the topic.
        """

        def question(partitions: list[int]) -> OffsetRequest:
            return OffsetRequest(CONSUMER, isolation, [(self._topic, [(partition, which) for partition in partitions])])

        offsets: dict[int, int | None] = dict.fromkeys(await self._client.partitions())
        for answer in await self._client.ask(question):
            for _, partitions in answer.topics:
                for partition, code, _, offset, *_ in partitions:
                    offsets[partition] = self._checked(code, offset)
        if None in offsets.values():
            self._client.mark_stale()
        return offsets

    async def fetch_ends(
        self, stored: Mapping[int, Position]
    ) -> tuple[dict[int, int | None], dict[int, int | None], dict[int, Position]]:
        """Return, by partition, the last stable offset, the high watermark, and the position.

        `stored` are the stored positions, read before. A partition that was never consumed has its first offset as
        position. Raises as `fetch` does.
        """
        # In this order: otherwise records that arrive between the two requests would count as held.
        highs = await self.fetch(isolation=READ_UNCOMMITTED)
        ends = await self.fetch()
        begins = await self.fetch(EARLIEST) if ends.keys() - stored.keys() else {}
        known = {partition: Position(begin) for partition, begin in begins.items() if begin is not None}
        return ends, highs, {**known, **stored}

    async def fetch_timestamps(
        self, offsets: Mapping[int, int], isolation: int = READ_COMMITTED
    ) -> dict[int, int | None]:
        """Return, for each offset, the timestamp (ms) of the batch that contains it: the timestamp of its first record.

        So no batch is decompressed. None if the batch has no timestamp. Partitions without an answer are left out.
        Raises as `fetch` does.
        """

        def question(partitions: list[int]) -> FetchRequest:
            # One partition per request: with a limit of one byte a broker returns one batch, of the first partition.
            rows = [(partition, offsets[partition], 1) for partition in partitions]
            return FetchRequest(0, 0, 1, isolation, [(self._topic, rows)])

        timestamps: dict[int, int | None] = {}
        for answer in await self._client.ask(question, [[partition] for partition in offsets]):
            for _, partitions in answer.topics:
                for partition, code, *_, records in partitions:
                    if self._checked(code, 0) is None:
                        continue
                    with suppress(KafkaError):  # a corrupt batch has no timestamp
                        if (batch := _first_batch(records)) is not None:
                            timestamps[partition] = _timestamp(batch)
        return timestamps

    def _checked(self, code: int, value: int) -> int | None:
        """Return the value of a partition, or None if its error code is set. Raises if the topic may not be read."""
        if code == TopicAuthorizationFailedError.errno:
            raise TopicAuthorizationFailedError(self._topic)
        return None if code else value

    async def close(self) -> None:
        """Close the client. May be called twice."""
        await self._client.close()


def _first_batch(records: bytes | None) -> Any:
    batches = MemoryRecords(records) if records else None
    return batches.next_batch() if batches is not None and batches.has_next() else None


def _timestamp(batch: Any) -> int | None:
    """Return the timestamp of a batch without decompressing it. None for the format before Kafka 0.11."""
    if not hasattr(batch, "first_timestamp"):
        return None
    timestamp = int(batch.max_timestamp if batch.timestamp_type == _LOG_APPEND_TIME else batch.first_timestamp)
    return timestamp if timestamp >= 0 else None
