"""Publishes orders at a steady rate to all partitions in turn, and records the progress of each partition."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import asyncpg
import attrs
from aiokafka import AIOKafkaProducer
from msgspec import json

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import kafka_options, postgres_options
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.isolation import PARTITIONS

LOOK_S = 0.02
_OFFSETS = "SELECT partition, next_offset FROM consumed_offsets WHERE consumer_group = $1 AND topic = $2"


async def publish_steadily(settings: Settings, per_second: float) -> None:
    """Send orders until cancelled. Each order is acknowledged before the next one is sent."""
    generator, loop = OrderGenerator(17), asyncio.get_running_loop()
    producer = AIOKafkaProducer(acks="all", **kafka_options(settings))
    await producer.start()
    try:
        begun_s, sent = loop.time(), 0
        while True:
            while sent < (loop.time() - begun_s) * per_second:
                order = generator.order()
                await producer.send_and_wait(
                    settings.kafka_topic,
                    json.encode(order),
                    order["order_uid"].encode(),
                    partition=sent % PARTITIONS,
                )
                sent += 1
            await asyncio.sleep(0.5 / per_second)
    finally:
        await asyncio.wait_for(producer.stop(), 10)


@attrs.define
class OffsetWatch:
    """The stored next offset of each partition, and when it changed. Times are the event loop's, in seconds."""

    settings: Settings
    positions: dict[int, int] = attrs.field(factory=dict)
    moves: list[tuple[float, int]] = attrs.field(factory=list)

    async def run(self) -> None:
        """Poll until cancelled, and record every change."""
        clock = asyncio.get_running_loop().time
        connection = await asyncpg.connect(**postgres_options(self.settings))
        try:
            while True:
                rows = await connection.fetch(_OFFSETS, self.settings.kafka_group_id, self.settings.kafka_topic)
                for partition, offset in rows:
                    if offset > self.positions.get(partition, 0):
                        self.positions[partition] = offset
                        self.moves.append((clock(), partition))
                await asyncio.sleep(LOOK_S)
        finally:
            connection.terminate()

    async def every_partition_moves(self, since: Mapping[int, int], timeout_s: float = 30) -> float:
        """Wait until each partition has been committed beyond its position in `since`. Returns the time in seconds."""
        clock = asyncio.get_running_loop().time
        begun_s = clock()

        async def look() -> list[int]:
            return [number for number in range(PARTITIONS) if self.positions.get(number, 0) <= since.get(number, 0)]

        await eventually(look, lambda waiting: not waiting, timeout_s)
        return clock() - begun_s

    def longest_silence_s(self, since_s: float, until_s: float) -> float:
        """Return the longest time without a commit between `since_s` and `until_s`."""
        times = [since_s, *(at_s for at_s, _ in self.moves if since_s < at_s < until_s), until_s]
        return max(after_s - before_s for before_s, after_s in pairwise(times))


@asynccontextmanager
async def offset_watch(settings: Settings) -> AsyncIterator[OffsetWatch]:
    """Watch the partitions while the context is open."""
    watch = OffsetWatch(settings)
    async with _beside(asyncio.create_task(watch.run(), name="offset-watch")):
        yield watch


@asynccontextmanager
async def steady_load(settings: Settings, per_second: float) -> AsyncIterator[OffsetWatch]:
    """Publish, and watch the partitions, while the context is open."""
    async with (
        offset_watch(settings) as watch,
        _beside(asyncio.create_task(publish_steadily(settings, per_second), name="steady-load")),
    ):
        yield watch


@asynccontextmanager
async def _beside(task: "asyncio.Task[None]") -> AsyncIterator[None]:
    try:
        yield
        assert not task.done(), f"ended before its time: {task}"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
