"""A producer that can also send records without key and value."""

import asyncio
import random
from typing import Any

from aiokafka import AIOKafkaProducer


class KafkaProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka is not typed
    """aiokafka's producer. In addition it sends records without key and value, which aiokafka refuses."""

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> "asyncio.Future[Any]":
        """Queue a record for sending. The returned future has the broker's answer. Raises `KafkaError`."""
        if key is None and value is None:
            answer = await self._send_empty(topic, partition, timestamp_ms, headers or [])
        else:
            answer = await super().send(topic, value, key, partition, timestamp_ms, headers)
        return answer

    async def _send_empty(
        self, topic: str, partition: int | None, timestamp_ms: int | None, headers: list[tuple[str, bytes]]
    ) -> "asyncio.Future[Any]":
        if partition is None:
            partition = random.choice(sorted(await self.partitions_for(topic)))
        batch = self.create_batch()
        batch.append(timestamp=timestamp_ms, key=None, value=None, headers=headers)
        answer: asyncio.Future[Any] = await self.send_batch(batch, topic, partition=partition)
        return answer
