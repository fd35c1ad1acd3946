"""How far behind the engine is, asked of PostgreSQL's offsets and of Kafka itself."""

from collections.abc import Mapping
from contextlib import suppress

import attrs
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from asyncpg import Connection

from engine.lag import Lag, LagMeter
from engine.offsets import fetch_positions
from engine.postgres import fetch_time_s
from engine.topic_offsets import TopicOffsets
from orderflow.connections import kafka_options
from orderflow.settings import Settings

DEADLINE_S = 5.0
_FETCH_TIMEOUT_MS = 1000


class LagReader:
    """Measures the lag of every partition, again and again. Close it afterwards."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._offsets = TopicOffsets(kafka_options(settings), settings.kafka_topic, DEADLINE_S)
        self._meter = LagMeter()

    async def read(self, connection: Connection) -> list[Lag]:
        """Return the lag by partition. Its seconds are the age of the first message that waits.

        Raises `KafkaError`, `OSError` and what asyncpg raises.
        """
        stored = await fetch_positions(connection, self._settings.kafka_group_id, self._settings.kafka_topic)
        ends, positions = await self._offsets.fetch_ends(stored)
        lags = self._meter.measure(positions, ends, await fetch_time_s(connection))
        waiting = {lag.partition: lag.next_offset for lag in lags if lag.messages and lag.next_offset is not None}
        produced_s = await self._produced_s(waiting) if waiting else {}
        now_s = await fetch_time_s(connection)
        return [
            attrs.evolve(lag, seconds=max(0.0, now_s - produced_s[lag.partition]))
            if lag.partition in produced_s
            else lag
            for lag in lags
        ]

    async def _produced_s(self, offsets: Mapping[int, int]) -> dict[int, float]:
        """Return when the message at each offset was produced, in seconds since the epoch; what is gone is left out."""
        topic = self._settings.kafka_topic
        consumer = AIOKafkaConsumer(**kafka_options(self._settings), auto_offset_reset="earliest")
        found: dict[int, float] = {}
        with suppress(KafkaError):
            try:
                await consumer.start()
                consumer.assign([TopicPartition(topic, partition) for partition in offsets])
                for partition, offset in offsets.items():
                    consumer.seek(TopicPartition(topic, partition), offset)
                for partition in offsets:
                    place = TopicPartition(topic, partition)
                    records = await consumer.getmany(place, timeout_ms=_FETCH_TIMEOUT_MS, max_records=1)
                    for record in records.get(place, []):
                        found[partition] = record.timestamp / 1000
            finally:
                await consumer.stop()
        return found

    async def close(self) -> None:
        """Close what is kept between two readings."""
        await self._offsets.close()
