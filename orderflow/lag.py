"""How far behind the engine is, asked of PostgreSQL's offsets and of Kafka itself."""

from asyncpg import Connection

from engine.lag import Lag
from engine.lag_reader import LagReader
from engine.offsets import fetch_positions
from engine.postgres import fetch_time_s
from engine.topic_offsets import TopicOffsets
from orderflow.connections import kafka_options
from orderflow.settings import Settings

DEADLINE_S = 5.0


class EngineLag:
    """Measures the lag of every partition, again and again. Close it afterwards."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = (settings.kafka_group_id, settings.kafka_topic)
        self._reader = LagReader(TopicOffsets(kafka_options(settings), settings.kafka_topic, DEADLINE_S))

    async def read(self, connection: Connection) -> list[Lag]:
        """Return the lag by partition. Raises `KafkaError`, `OSError` and what asyncpg raises."""
        stored = await fetch_positions(connection, *self._consumer)
        return await self._reader.read(stored, await fetch_time_s(connection))

    async def close(self) -> None:
        """Close what is kept between two readings."""
        await self._reader.close()
