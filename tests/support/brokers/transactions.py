"""Publishes orders in transactions with librdkafka, so that aiokafka is tested with records of another client."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
from confluent_kafka import Producer
from msgspec import json

from orderflow.start.settings import Settings
from tests.support.brokers.operator import addresses
from tests.support.isolation import unique

TIMEOUT_S = 20.0
Order = dict[str, Any]


@attrs.frozen
class Placed:
    """The partition and offset of a published order."""

    order: Order
    partition: int
    offset: int


@attrs.frozen
class OpenTransaction:
    """An open transaction. Its records are on the broker at `placed`, but it was not committed or aborted yet."""

    placed: list[Placed]
    _producer: Producer

    async def commit(self) -> None:
        """Commit it: its records can be consumed."""
        await asyncio.to_thread(self._producer.commit_transaction, TIMEOUT_S)

    async def abort(self) -> None:
        """Abort it: consumers ignore its records."""
        await asyncio.to_thread(self._producer.abort_transaction, TIMEOUT_S)


@attrs.frozen
class TransactionalPublisher:
    """Publishes orders to `partitions` of `topic` in turn. Each transaction ends before the next one starts."""

    topic: str
    partitions: Sequence[int]
    _producer: Producer

    async def committed(self, orders: Sequence[Order]) -> list[Placed]:
        """Publish orders in one transaction, commit it, and return their places."""
        transaction = await self.left_open(orders)
        await transaction.commit()
        return transaction.placed

    async def aborted(self, orders: Sequence[Order]) -> None:
        """Publish orders in one transaction, and abort it when all of them are on the broker."""
        await (await self.left_open(orders)).abort()

    async def left_open(self, orders: Sequence[Order]) -> OpenTransaction:
        """Publish orders in one transaction, and return it, still open, when all of them are on the broker."""
        placed = await asyncio.to_thread(self._begin, orders)
        return OpenTransaction(placed, self._producer)

    def _begin(self, orders: Sequence[Order]) -> list[Placed]:
        placed: list[Placed] = []

        def note(order: Order) -> Callable[[Any, Any], None]:
            def delivered(error: Any, message: Any) -> None:
                assert error is None, error
                placed.append(Placed(order, message.partition(), message.offset()))

            return delivered

        self._producer.begin_transaction()
        for number, order in enumerate(orders):
            self._producer.produce(
                self.topic,
                json.encode(order),
                order["order_uid"].encode(),
                partition=self.partitions[number % len(self.partitions)],
                on_delivery=note(order),
            )
        left = self._producer.flush(TIMEOUT_S)
        assert (left, len(placed)) == (0, len(orders)), f"{left} orders were not acknowledged"
        return placed


@asynccontextmanager
async def transactional_publisher(
    settings: Settings, partitions: Sequence[int], timeout_ms: int = 60_000
) -> AsyncIterator[TransactionalPublisher]:
    """Provide a publisher for the topic of orders, with a unique transactional id.

    The broker aborts a transaction that is open for longer than `timeout_ms`.
    """
    producer = Producer(
        {
            "bootstrap.servers": addresses(settings),
            "transactional.id": unique("transactions"),
            "transaction.timeout.ms": timeout_ms,
            "log_level": 0,
        }
    )
    await asyncio.to_thread(producer.init_transactions, TIMEOUT_S)
    try:
        yield TransactionalPublisher(settings.kafka_topic, partitions, producer)
    finally:
        await asyncio.to_thread(producer.purge)
