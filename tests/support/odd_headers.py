"""Creates record batches with headers that aiokafka's producer cannot write."""

from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings

Record = tuple[bytes | None, bytes | None, list[tuple[bytes, bytes | None]]]
"""Key, value and headers. The names of the headers may be any bytes."""


class _Name(str):
    """The name of a header, which is encoded as the original bytes."""

    __slots__ = ("raw",)

    def __new__(cls, raw: bytes) -> "_Name":
        name = super().__new__(cls, repr(raw))
        name.raw = raw
        return name

    def encode(self, *_arguments: Any) -> bytes:
        return self.raw


def builder(records: list[Record], compression: int = 0) -> Any:
    """Return a builder of one record batch that starts at offset 0."""
    made = _DefaultRecordBatchBuilderPy(2, compression, 0, -1, -1, -1, 1 << 30)
    for offset, (key, value, headers) in enumerate(records):
        made.append(offset, 0, key, value, [(_Name(name), content) for name, content in headers])
    return made


async def send_odd(settings: Settings, records: list[Record], partition: int, compression: int = 0) -> int:
    """Send a record batch, wait for the acknowledgement, and return the offset of its first record.

    `compression` is the number of the codec in Kafka's protocol.
    """
    producer = AIOKafkaProducer(**kafka_options(settings))
    await producer.start()
    try:
        batch = producer.create_batch()
        batch._builder, batch._relative_offset = builder(records, compression), len(records)
        place = await (await producer.send_batch(batch, settings.kafka_topic, partition=partition))
    finally:
        await producer.stop()
    offset: int = place.offset
    return offset
