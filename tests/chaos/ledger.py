"""The book of a fault run: publishes orders under load and notes where the broker acknowledged each."""

import asyncio
from contextlib import suppress
from random import Random
from typing import Any

import attrs
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from msgspec import json

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings

STOP_TIMEOUT_S = 10.0


@attrs.frozen
class Sent:
    """One acknowledged message. `version` counts up per uid; 0 stands for a message that is no valid order."""

    uid: str
    version: int
    partition: int
    offset: int


class Ledger:
    """Publishes orders under load and keeps book of what the broker acknowledged.

    Of the messages, `change_share` are later versions of an earlier order, `repeat_share` equal repeats of the newest
    version, and `invalid_share` are not orders at all.
    """

    def __init__(
        self,
        settings: Settings,
        seed: int,
        change_share: float = 0.1,
        repeat_share: float = 0.05,
        invalid_share: float = 0.02,
    ) -> None:
        self._settings = settings
        self._generator = OrderGenerator(seed)
        self._random = Random(seed)
        self._shares = (invalid_share, invalid_share + repeat_share, invalid_share + repeat_share + change_share)
        self._newest: dict[str, tuple[int, dict[str, Any]]] = {}
        self._uids: list[str] = []
        self.sent: list[Sent] = []
        self.recipient: dict[str, str] | None = None
        """The `delivery` of all orders, where it is to be the same."""
        self.answer_ms = 40_000
        """How long a broker may take to answer: one that has fallen silent is given up after that time only."""

    async def publish(self, count: int, per_second: float | None = None) -> None:
        """Send `count` messages, each acknowledged before this returns. A send that fails is sent again.

        A message that was sent again may be in the topic twice: the ledger then knows the second place only.
        """
        producer = AIOKafkaProducer(
            acks="all", enable_idempotence=True, request_timeout_ms=self.answer_ms, **kafka_options(self._settings)
        )
        await producer.start()
        try:
            for start in range(0, count, 100):
                size = min(100, count - start)
                await asyncio.gather(*(self._send(producer) for _ in range(size)))
                if per_second is not None:
                    await asyncio.sleep(size / per_second)
        finally:
            # It would flush for ever to a broker that a failed run has left broken.
            with suppress(TimeoutError):
                await asyncio.wait_for(producer.stop(), STOP_TIMEOUT_S)

    async def _send(self, producer: AIOKafkaProducer) -> None:
        uid, version, value = self._next()
        while True:
            try:
                place = await producer.send_and_wait(self._settings.kafka_topic, value, uid.encode())
            except KafkaError:
                await asyncio.sleep(0.2)
                continue
            self.sent.append(Sent(uid, version, place.partition, place.offset))
            return

    def _next(self) -> tuple[str, int, bytes]:
        random = self._random
        invalid, repeat, change = self._shares
        lot = random.random()
        if lot < invalid:
            return f"invalid-{len(self.sent)}-{random.random()}", 0, b'{"order_uid": 5}'
        if self._uids and lot < change:
            uid = random.choice(self._uids)
            version, order = self._newest[uid]
            if lot >= repeat:
                version += 1
                order = {**order, "sm_id": version}
        else:
            order = {**self._generator.order(), "sm_id": 1}
            if self.recipient is not None:
                order["delivery"] = self.recipient
            uid, version = order["order_uid"], 1
            self._uids.append(uid)
        self._newest[uid] = (version, order)
        return uid, version, json.encode(order)
