"""A backlog of many orders: published fast, and checked by counts and offsets in SQL.

An order's uid says where it is to be: its partition and its offset. So SQL alone can tell that each acknowledged
message is stored, whole and once, and what the checker of the other runs keeps in memory is not needed.
"""

import asyncio
from typing import Any

import asyncpg
import attrs
from aiokafka import AIOKafkaProducer
from msgspec import json
from redis.asyncio import Redis

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings
from tests.chaos.checker import Report, check_committed, check_once, stale_answers
from tests.chaos.ledger import Sent

TEMPLATES = 500
BATCH_BYTES = 900_000
"""Just under what a broker takes in one request by default."""
_SHOWN = 10
_PARTITION_DIGITS, _OFFSET_DIGITS = 2, 18
_PAGE = 1000

_MISPLACED = """
SELECT order_uid FROM orders
WHERE order_uid <> lpad(to_hex(source_partition), $1, '0') || lpad(to_hex(source_offset), $2, '0') LIMIT $3
"""
_STORED = "SELECT source_partition, count(*), min(source_offset), max(source_offset) FROM orders GROUP BY 1"
_ITEMS = "SELECT count(*), count(DISTINCT order_uid) FROM order_items"
_OTHERWISE = "SELECT sum(inserted), sum(changed), sum(unchanged), sum(rejected) FROM batches"


def uid_at(partition: int, offset: int) -> str:
    """Return the uid of the order at this place."""
    return f"{partition:0{_PARTITION_DIGITS}x}{offset:0{_OFFSET_DIGITS}x}"


@attrs.define
class Backlog:
    """Fills a new topic. `ends` are the acknowledged messages of each partition, `items` the orders' items in all."""

    settings: Settings
    seed: int
    ends: dict[int, int] = attrs.field(factory=dict)
    items: int = 0

    @property
    def orders(self) -> int:
        """How many orders the broker has acknowledged."""
        return sum(self.ends.values())

    async def publish(self, count: int) -> None:
        """Send `count` orders, all acknowledged before this returns: the same number to each partition, or one less."""
        templates = self._templates()
        partitions = self.settings.kafka_partitions
        producer = AIOKafkaProducer(
            acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES, **kafka_options(self.settings)
        )
        await producer.start()
        try:
            shares = [count // partitions + (partition < count % partitions) for partition in range(partitions)]
            await asyncio.gather(
                *(self._fill(producer, partition, share, templates) for partition, share in enumerate(shares))
            )
        finally:
            await producer.stop()

    def _templates(self) -> list[tuple[bytes, bytes, int]]:
        """Return encoded orders, cut in two where the uid belongs, with their number of items."""
        found = []
        generator = OrderGenerator(self.seed)
        for order in (generator.order() for _ in range(TEMPLATES)):
            uid = order["order_uid"].encode()
            before, after = json.encode(order).split(uid, 1)
            found.append((before, after, len(order["items"])))
        return found

    async def _fill(self, producer: Any, partition: int, count: int, templates: list[tuple[bytes, bytes, int]]) -> None:
        """Send one batch after the other, so that the next offset is known before it is sent."""
        offset = 0
        while offset < count:
            batch, begin = producer.create_batch(), offset
            while offset < count:
                before, after, items = templates[offset % TEMPLATES]
                uid = uid_at(partition, offset).encode()
                if batch.append(key=uid, value=before + uid + after, timestamp=None) is None:
                    break
                offset += 1
                self.items += items
            answer = await producer.send_batch(batch, self.settings.kafka_topic, partition=partition)
            place = await answer
            assert place.offset == begin, "another message is in this topic"
            self.ends[partition] = offset

    async def check(self, connection: asyncpg.Connection, redis: Redis, minimum: int = 1000) -> Report:
        """Compare what was acknowledged with what is stored. Fails when fewer than `minimum` orders were sent: (e)."""
        assert self.orders >= minimum, f"(e) only {self.orders} messages went through this run, {minimum} are needed"
        report = Report(self.orders)
        await self._check_orders(connection, report)
        await self._check_batches(connection, report)
        await check_once(connection, self.settings, report)
        await check_committed(connection, self.settings, report)
        async for uids in _cached_uids(redis):
            report.stale += await stale_answers(connection, redis, [Sent(uid, 1, 0, 0) for uid in uids])
        return report

    async def _check_orders(self, connection: asyncpg.Connection, report: Report) -> None:
        """Each acknowledged place is stored, by its own order, whole: (a). A uid can be stored only once."""
        for row in await connection.fetch(_MISPLACED, _PARTITION_DIGITS, _OFFSET_DIGITS, _SHOWN):
            report.repeated.append(f"(a) order {row[0]} is stored from another place than its own")
        stored = {row[0]: tuple(row)[1:] for row in await connection.fetch(_STORED)}
        for partition, end in self.ends.items():
            found = stored.get(partition)
            if found != (end, 0, end - 1):
                report.lost.append(
                    f"(a) partition {partition} holds {end} orders; stored (count, first, last): {found}"
                )
        items = tuple(await connection.fetchrow(_ITEMS))
        if items != (self.items, self.orders):
            report.lost.append(f"(a) items, and orders with items: {items} instead of {(self.items, self.orders)}")

    async def _check_batches(self, connection: asyncpg.Connection, report: Report) -> None:
        """Each order was inserted and never touched again, so that no version can have gone back: (a), (c)."""
        done = tuple(await connection.fetchrow(_OTHERWISE))
        if done != (self.orders, 0, 0, 0):
            report.repeated.append(f"(c) inserted, changed, unchanged, rejected: {done}")


async def _cached_uids(redis: Redis) -> Any:
    """Yield the uids of all cached orders, a page at a time."""
    page = []
    async for key in redis.scan_iter("order:*", count=_PAGE):
        page.append(key.decode().removeprefix("order:"))
        if len(page) == _PAGE:
            yield page
            page = []
    yield page
