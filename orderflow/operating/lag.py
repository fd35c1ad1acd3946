"""Reads the engine's lag and the partitions' owners from PostgreSQL and Kafka."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka.errors import KafkaError
from asyncpg import Connection
from lookup.operations.owners import OwnerMatcher, OwnerReader, read_once
from lookup.operations.workers import fetch_workers

from engine.kafka.group_members import GroupMembers
from engine.kafka.lag import Lag
from engine.kafka.lag_reader import LagReader
from engine.kafka.topic_offsets import TopicOffsets
from engine.postgres.offsets import fetch_positions
from engine.postgres.session import fetch_time_s
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings

DEADLINE_S = 5.0


class EngineLag:
    """Reads the lag of every partition, any number of times. Close it afterwards."""

    def __init__(self, settings: Settings) -> None:
        self._group, self._topic = settings.kafka_group_id, settings.kafka_topic
        options = kafka_options(settings)
        self._offsets = TopicOffsets(options, self._topic, DEADLINE_S)
        self._reader = LagReader(self._offsets)
        self._members = GroupMembers(options, self._group, self._topic, DEADLINE_S)
        self._owners = OwnerReader(self._members, OwnerMatcher())

    async def read(self, connection: Connection) -> list[Lag]:
        """Return the lag by partition. Raises `KafkaError`, `OSError` and what asyncpg raises."""
        stored = await fetch_positions(connection, self._group, self._topic)
        return await self._reader.read(stored, await fetch_time_s(connection))

    async def read_leaderless(self) -> set[int]:
        """Return the partitions without a leader. Raises `KafkaError` and `OSError`."""
        return {partition for partition, leader in (await self._offsets.look()).leaders.items() if leader is None}

    async def read_owners(self, connection: Connection, *, again: bool) -> Mapping[int, str | None]:
        """Return the owner of each partition, as far as Kafka reports one. Raises what asyncpg raises.

        With `again` an unknown member may be reported as None at first, because the caller asks again. Otherwise it
        waits until the member is known to be a worker or foreign.
        """

        async def workers() -> Sequence[Any]:
            return await fetch_workers(connection, self._group, self._topic)

        if again:
            owners = await self._owners.read(await workers())
            return {} if owners is None else owners.by_partition
        with suppress(KafkaError, OSError):
            return (await read_once(self._members, workers)).by_partition
        return {}

    async def close(self) -> None:
        """Close the connections that are kept between readings."""
        await self._reader.close()
        await self._owners.close()
