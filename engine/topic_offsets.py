"""Where a topic's partitions begin and end, asked of the brokers again and again through one client that is kept."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.offset import OffsetRequest

from engine.lag import Position

LATEST, EARLIEST = -1, -2
_CONSUMER = -1
_READ_COMMITTED = 1
_METADATA_MAX_AGE_MS = 10_000


class TopicOffsets:
    """Asks for the offsets of one topic. After any failure the next question begins with a new client."""

    def __init__(self, options: Mapping[str, Any], topic: str, deadline_s: float) -> None:
        self._options = options
        self._topic = topic
        self._deadline_s = deadline_s
        self._client: AIOKafkaClient | None = None

    async def fetch(self, which: int = LATEST) -> dict[int, int]:
        """Return the offset after the last record that can be consumed (or of the first, `EARLIEST`) by partition.

        Raises `KafkaError` or `OSError` (a time-out is one) at the latest after the deadline. Never creates the topic.
        """
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._ask(await self._connected(), which)
        except BaseException:
            await self.close()
            raise

    async def fetch_ends(self, stored: Mapping[int, Position]) -> tuple[dict[int, int], dict[int, Position]]:
        """Return the end of each partition, and its position: where nothing was consumed yet, its beginning.

        `stored` are the positions that were read before. Raises as `fetch` does.
        """
        ends = await self.fetch()
        begins = await self.fetch(EARLIEST) if ends.keys() - stored.keys() else {}
        return ends, {**{partition: Position(begin) for partition, begin in begins.items()}, **stored}

    async def _ask(self, client: AIOKafkaClient, which: int) -> dict[int, int]:
        asked: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for partition in client.cluster.partitions_for_topic(self._topic) or ():
            leader = client.cluster.leader_for_partition(TopicPartition(self._topic, partition))
            asked[leader].append((partition, which))
        answers = await asyncio.gather(
            *(
                client.send(node, OffsetRequest(_CONSUMER, _READ_COMMITTED, [(self._topic, partitions)]))
                for node, partitions in asked.items()
            )
        )
        offsets = {}
        for answer in answers:
            for _, partitions in answer.topics:
                for partition, code, _, offset in partitions:
                    if code:
                        raise for_code(code)()
                    offsets[partition] = offset
        return offsets

    async def _connected(self) -> AIOKafkaClient:
        if self._client is None:
            client = AIOKafkaClient(
                **self._options,
                client_id="orderflow-offsets",
                metadata_max_age_ms=_METADATA_MAX_AGE_MS,
                # The longer one, so that the deadline is what ends a slow answer.
                request_timeout_ms=int(self._deadline_s * 2000),
            )
            self._client = client
            await client.bootstrap()
            # Asking for a topic by its name creates it where the broker allows that: only once it is known to exist.
            if self._topic not in (await client.fetch_all_metadata()).topics():
                raise UnknownTopicOrPartitionError(self._topic)
            await client.set_topics([self._topic])
        return self._client

    async def close(self) -> None:
        """Close the client. Closing twice is fine."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(KafkaError, OSError):
                await client.close()
