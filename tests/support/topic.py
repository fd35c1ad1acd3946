"""Sends messages to a topic, and reads them back."""

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings

Headers = list[tuple[str, bytes]]


async def send(
    settings: Settings,
    *messages: tuple[bytes | None, bytes | None],
    partition: int | None = None,
    headers: Headers | None = None,
    timestamp_ms: int | None = None,
) -> list[tuple[int, int]]:
    """Send (key, value) pairs in order, all with `headers` and the timestamp (default: now).

    Waits for the acknowledgements, and returns the (partition, offset) of each message.
    """
    producer = AIOKafkaProducer(acks="all", max_request_size=32 * 1024 * 1024, **kafka_options(settings))
    await producer.start()
    try:
        places = [
            await producer.send_and_wait(
                settings.kafka_topic, value, key, partition=partition, headers=headers, timestamp_ms=timestamp_ms
            )
            for key, value in messages
        ]
    finally:
        await producer.stop()
    return [(place.partition, place.offset) for place in places]


async def send_as_batch(settings: Settings, *messages: tuple[bytes | None, bytes | None], partition: int) -> None:
    """Send (key, value) pairs to a partition as one batch."""
    producer = AIOKafkaProducer(acks="all", max_batch_size=1024 * 1024, **kafka_options(settings))
    await producer.start()
    try:
        batch = producer.create_batch()
        for key, value in messages:
            assert batch.append(key=key, value=value, timestamp=None) is not None, "the batch is full"
        batch.close()
        await (await producer.send_batch(batch, settings.kafka_topic, partition=partition))
    finally:
        await producer.stop()


async def length(settings: Settings, topic: str) -> int:
    """Return the number of records that were ever written to partition 0 of `topic`."""
    consumer = AIOKafkaConsumer(enable_auto_commit=False, **kafka_options(settings))
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        ends: dict[TopicPartition, int] = await consumer.end_offsets([place])
        return ends[place]
    finally:
        await consumer.stop()


async def receive(settings: Settings, topic: str, count: int, timeout_s: float = 20, partition: int = 0) -> list[Any]:
    """Wait for the first `count` records of a partition of `topic`, and return them."""
    consumer = AIOKafkaConsumer(auto_offset_reset="earliest", enable_auto_commit=False, **kafka_options(settings))
    await consumer.start()
    try:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        records: list[Any] = []
        async with asyncio.timeout(timeout_s):
            while len(records) < count:
                records.append(await consumer.getone())
        return records
    finally:
        await consumer.stop()
