"""Sends generated page views. The argument is their number (default 50). Every tenth is invalid."""

import asyncio
import sys
from datetime import UTC, datetime
from random import choice, randrange
from uuid import uuid4

from msgspec import json

from engine import KafkaProducer

from .handler import PageView
from .names import TOPIC
from .pipeline import KAFKA


def _message(number: int) -> bytes:
    if number % 10 == 0:
        return json.encode({"view_id": "?", "page": "/", "visitor": "", "duration_ms": -1})
    page = choice(("/", "/catalogue", "/cart", "/about"))
    return json.encode(PageView(uuid4(), page, f"visitor-{randrange(100)}", datetime.now(UTC), randrange(60_000)))


async def _publish(count: int) -> None:
    producer = KafkaProducer(acks="all", enable_idempotence=True, **KAFKA)
    await producer.start()
    try:
        answers = [await producer.send(TOPIC, _message(number)) for number in range(1, count + 1)]
        await asyncio.gather(*answers)
    finally:
        await producer.stop()
    print(f"Published {count} messages to {TOPIC}, {count // 10} of them broken")


if __name__ == "__main__":
    asyncio.run(_publish(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
