"""A producer that sends every record that Kafka takes."""

import asyncio
import random
from typing import Any

from aiokafka import AIOKafkaProducer


class KafkaProducer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka is not typed
    """aiokafka's producer, which by itself refuses a record that has neither key nor value."""

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> "asyncio.Future[Any]":
        """Hand a record over; the future is the broker's answer. Raises `KafkaError`."""
        if key is None and value is None:
            answer = await self._send_nothing(topic, partition, timestamp_ms, headers or [])
        else:
            answer = await super().send(topic, value, key, partition, timestamp_ms, headers)
        return answer

    async def _send_nothing(
        self, topic: str, partition: int | None, timestamp_ms: int | None, headers: list[tuple[str, bytes]]
    ) -> "asyncio.Future[Any]":
        if partition is None:
            partition = random.choice(sorted(await self.partitions_for(topic)))
        batch = self.create_batch()
        batch.append(timestamp=timestamp_ms, key=None, value=None, headers=headers)
        answer: asyncio.Future[Any] = await self.send_batch(batch, topic, partition=partition)
        return answer
