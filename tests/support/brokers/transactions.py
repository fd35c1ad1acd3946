"""Publishes orders in transactions, by librdkafka: what aiokafka has written, aiokafka should not judge alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
from confluent_kafka import Producer
from msgspec import json

from tests.support.isolation import unique

TIMEOUT_S = 20.0
Order = dict[str, Any]


@attrs.frozen
class OpenTransaction:
    """A transaction whose records are on the broker, and whose end is not."""

    _producer: Producer

    async def commit(self) -> None:
        """End it: its records count."""
        await asyncio.to_thread(self._producer.commit_transaction, TIMEOUT_S)

    async def abort(self) -> None:
        """End it: its records are none."""
        await asyncio.to_thread(self._producer.abort_transaction, TIMEOUT_S)


@attrs.frozen
class TransactionalPublisher:
    """Publishes to `topic`, the orders going to its `partitions` in turn, each transaction ended before the next."""

    topic: str
    partitions: Sequence[int]
    _producer: Producer

    async def committed(self, orders: Sequence[Order]) -> None:
        """Publish orders in one transaction, and commit it."""
        await (await self.left_open(orders)).commit()

    async def aborted(self, orders: Sequence[Order]) -> None:
        """Publish orders in one transaction, and abort it when they are all on the broker."""
        await (await self.left_open(orders)).abort()

    async def left_open(self, orders: Sequence[Order]) -> OpenTransaction:
        """Publish orders in one transaction, and return it when they are all on the broker."""
        await asyncio.to_thread(self._begin, orders)
        return OpenTransaction(self._producer)

    def _begin(self, orders: Sequence[Order]) -> None:
        failures: list[Any] = []
        self._producer.begin_transaction()
        for number, order in enumerate(orders):
            self._producer.produce(
                self.topic,
                json.encode(order),
                order["order_uid"].encode(),
                partition=self.partitions[number % len(self.partitions)],
                on_delivery=lambda error, _message: failures.append(error) if error else None,
            )
        left = self._producer.flush(TIMEOUT_S)
        assert (left, failures) == (0, []), f"{left} orders were not acknowledged: {failures[:3]}"


@asynccontextmanager
async def transactional_publisher(
    bootstrap: str, topic: str, partitions: Sequence[int], timeout_ms: int = 60_000, **options: str
) -> AsyncIterator[TransactionalPublisher]:
    """Provide a publisher with a transactional id of its own. A transaction that is open at its end is aborted.

    The broker aborts one that is open for longer than `timeout_ms`. `options` are librdkafka's, with underscores for
    dots.
    """
    named = {name.replace("_", "."): value for name, value in options.items()}
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": unique("transactions"),
            "transaction.timeout.ms": timeout_ms,
            "log_level": 0,
            **named,
        }
    )
    await asyncio.to_thread(producer.init_transactions, TIMEOUT_S)
    try:
        yield TransactionalPublisher(topic, partitions, producer)
    finally:
        await asyncio.to_thread(producer.purge)
