"""Publishes orders at a steady rate to all partitions in turn, in the background of a measurement."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import monotonic

import attrs
from aiokafka import AIOKafkaProducer

from bench.orders import encoded_orders
from orderflow.start.connections import kafka_options
from orderflow.start.settings import parse_settings
from tests.support.isolation import PARTITIONS


@attrs.frozen
class Sent:
    """A message that the broker has acknowledged. `sent_s` is on the monotonic clock."""

    partition: int
    offset: int
    sent_s: float


@attrs.define
class SteadyStream:
    """The orders that were published so far."""

    per_s: float
    seed: int
    acknowledged: list[Sent] = attrs.field(factory=list)
    _stopping: asyncio.Event = attrs.field(factory=asyncio.Event)
    _answers: list[asyncio.Task[None]] = attrs.field(factory=list)

    def first_after(self, moment_s: float) -> dict[int, int]:
        """Return the lowest offset, by partition, among the messages that were sent after `moment_s`."""
        found: dict[int, int] = {}
        for sent in self.acknowledged:
            if sent.sent_s > moment_s:
                found[sent.partition] = min(sent.offset, found.get(sent.partition, sent.offset))
        return found

    async def publish(self, producer: AIOKafkaProducer, topic: str) -> None:
        """Publish until `stop`, without waiting for acknowledgements."""
        began = monotonic()
        for number, order in enumerate(encoded_orders(self.seed)):
            try:
                async with asyncio.timeout(max(0.0, began + number / self.per_s - monotonic())):
                    await self._stopping.wait()
                return
            except TimeoutError:
                pass
            sent_s, partition = monotonic(), number % PARTITIONS
            answer = await producer.send(topic, order.value, order.uid, partition=partition)
            self._answers.append(asyncio.create_task(self._note(answer, partition, sent_s), name="acknowledgement"))

    async def _note(self, answer: "asyncio.Future[object]", partition: int, sent_s: float) -> None:
        metadata = await answer
        self.acknowledged.append(Sent(partition, metadata.offset, sent_s))  # type: ignore[attr-defined]

    async def stop(self) -> int:
        """Stop sending, wait for all acknowledgements, and return their number. Raises Kafka's errors."""
        self._stopping.set()
        await asyncio.gather(*self._answers)
        return len(self._answers)


@asynccontextmanager
async def steady_stream(environment: Mapping[str, str], per_s: float, seed: int) -> AsyncIterator[SteadyStream]:
    """Publish to the topic of `environment` while the context is open, or until `SteadyStream.stop`."""
    settings = parse_settings(environment)
    stream = SteadyStream(per_s, seed)
    producer = AIOKafkaProducer(acks="all", **kafka_options(settings))
    await producer.start()
    try:
        publishing = asyncio.create_task(stream.publish(producer, settings.kafka_topic), name="steady stream")
        try:
            yield stream
        finally:
            await stream.stop()
            await publishing
    finally:
        await producer.stop()
