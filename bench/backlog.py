"""Fills a topic with orders before the measurement, and records the expected result of consuming them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import NamedTuple

import attrs
from aiokafka import AIOKafkaProducer
from msgspec import json

from bench.orders import encoded_orders
from orderflow.publishing.spoiling import spoil
from orderflow.start.connections import kafka_options
from orderflow.start.settings import parse_settings
from tests.support.isolation import PARTITIONS, own_topics

_REQUEST_BYTES = 16 << 20
_BATCHES_IN_FLIGHT = 32


class Message(NamedTuple):
    """A message for one partition."""

    partition: int
    key: bytes
    value: bytes | None


@attrs.define
class Backlog:
    """A topic full of orders (as settings), and the expected result. A repeated message adds no order."""

    environment: dict[str, str]
    messages: int = 0
    items: int = 0
    rejected: int = 0
    repeats: int = 0
    uids: list[str] = attrs.field(factory=list)

    @property
    def orders(self) -> int:
        """The number of different orders."""
        return len(self.uids)


@attrs.frozen(kw_only=True)
class Mixture:
    """The composition of a backlog. The shares are fractions of all messages. A repeat is a copy of an earlier message.

    `padding` is the number of additional bytes per message, in a field that orderflow does not read and that compresses
    well. A batch has at most `batch_bytes` before it is compressed.
    """

    count: int
    seed: int
    random_uids: bool = False
    invalid_share: float = 0.0
    repeat_share: float = 0.0
    partitions: int = PARTITIONS
    padding: int = 0
    compression: str | None = None
    batch_bytes: int = 128 << 10


def messages(mixture: Mixture, backlog: Backlog) -> Iterator[Message]:
    """Generate the messages, and record the expected result in `backlog`. A uid always goes to the same partition."""
    random = Random(mixture.seed)
    orders = encoded_orders(mixture.seed, random_uids=mixture.random_uids)
    sent: list[Message] = []
    padding = b',"padding":"%b"}' % (b"x" * mixture.padding) if mixture.padding else b""
    for position in range(mixture.count):
        lot = random.random()
        backlog.messages += 1
        if lot < mixture.repeat_share and sent:
            backlog.repeats += 1
            yield random.choice(sent)
            continue
        order = next(orders)
        if lot >= 1 - mixture.invalid_share:
            backlog.rejected += 1
            yield Message(position % mixture.partitions, order.uid, spoil(json.decode(order.value), random))
            continue
        backlog.uids.append(order.uid.decode())
        backlog.items += order.items
        value = order.value[:-1] + padding if padding else order.value
        message = Message(position % mixture.partitions, order.uid, value)
        if mixture.repeat_share:
            sent.append(message)
        yield message


@asynccontextmanager
async def backlog(environment: dict[str, str], mixture: Mixture) -> AsyncIterator[Backlog]:
    """Provide a new topic that contains the mixture. The broker has acknowledged all messages."""
    async with own_topics(environment, mixture.partitions) as topics:
        filled = Backlog({**environment, **topics})
        await _publish(filled.environment, mixture, messages(mixture, filled))
        yield filled


async def _publish(environment: dict[str, str], mixture: Mixture, stream: Iterator[Message]) -> None:
    settings = parse_settings(environment)
    producer = AIOKafkaProducer(
        acks="all",
        max_batch_size=mixture.batch_bytes,
        max_request_size=_REQUEST_BYTES,
        compression_type=mixture.compression,
        **kafka_options(settings),
    )
    await producer.start()
    try:
        await _Batches(producer, settings.kafka_topic, mixture.partitions).send_all(stream)
    finally:
        await producer.stop()


class _Batches:
    """Packs messages into batches: one call per message would cost the producer more time than the broker needs."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self._producer = producer
        self._topic = topic
        self._open = {partition: producer.create_batch() for partition in range(partitions)}
        self._answers: set[asyncio.Future[object]] = set()

    async def send_all(self, stream: Iterator[Message]) -> None:
        """Send the messages and wait until all are acknowledged."""
        for partition, key, value in stream:
            while self._open[partition].append(key=key, value=value, timestamp=None) is None:
                await self._send(partition)
        for partition in self._open:
            await self._send(partition)
        await asyncio.gather(*self._answers)

    async def _send(self, partition: int) -> None:
        full, self._open[partition] = self._open[partition], self._producer.create_batch()
        if full.record_count():
            self._answers.add(await self._producer.send_batch(full, self._topic, partition=partition))
        if len(self._answers) >= _BATCHES_IN_FLIGHT:
            done, self._answers = await asyncio.wait(self._answers, return_when=asyncio.FIRST_COMPLETED)
            for answer in done:
                answer.result()
