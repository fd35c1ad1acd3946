"""Orders in topics whose producers compress, with any of Kafka's codecs, and with several in one partition."""

import asyncio
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from msgspec import json

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings
from tests.support.endpoints import Endpoints
from tests.support.eventually import consumed
from tests.support.letters import letters
from tests.support.odd_headers import send_odd
from tests.support.programs import Programs, Running

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""Kafka's codecs, with their numbers."""
ORDERS = 60
LINGER_MS = 200


async def send_compressed(settings: Settings, codec: str | None, values: list[bytes]) -> None:
    """Send messages to partition 0, in order and in as few batches as possible, and wait for the broker's word."""
    producer = AIOKafkaProducer(
        acks="all", compression_type=codec, linger_ms=LINGER_MS, max_batch_size=1 << 20, **kafka_options(settings)
    )
    await producer.start()
    try:
        sent = [await producer.send(settings.kafka_topic, value, partition=0) for value in values]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


def encoded(orders: list[dict[str, Any]], **changes: Any) -> list[bytes]:
    return [json.encode({**order, **changes}) for order in orders]


async def stored(database: asyncpg.Connection) -> dict[str, int]:
    """Return the order's `sm_id`, by which the test tells its versions, by its uid."""
    return dict(await database.fetch("SELECT order_uid, sm_id FROM orders"))


def assert_compressed_in_the_log(endpoints: Endpoints, settings: Settings, values: list[bytes]) -> None:
    """Where the broker's files can be read, they are smaller than the messages by far."""
    if endpoints.embedded is not None:
        folder = endpoints.embedded.kafka.data / f"{settings.kafka_topic}-0"
        on_disk = sum(file.stat().st_size for file in folder.glob("*.log"))
        assert 0 < on_disk < sum(map(len, values)) / 2


@pytest.mark.parametrize("codec", CODECS)
async def test_a_compressed_topic_is_consumed(
    engine: Running,
    settings: Settings,
    database: asyncpg.Connection,
    endpoints: Endpoints,
    orders: OrderGenerator,
    codec: str,
) -> None:
    """All orders of a compressed batch land, and what is no order in its middle is a letter at its very offset."""
    made = [orders.order() for _ in range(ORDERS)]
    values = encoded(made)
    values.insert(ORDERS // 2, b"no order")
    await send_compressed(settings, codec, values)
    assert_compressed_in_the_log(endpoints, settings, values)
    await consumed(database, ORDERS + 1)
    assert await stored(database) == {order["order_uid"]: order["sm_id"] for order in made}
    assert [(letter["kafka_offset"], letter["payload"]) for letter in await letters(database)] == [
        (ORDERS // 2, b"no order")
    ]


async def test_one_partition_may_hold_every_codec(
    engine: Running, settings: Settings, database: asyncpg.Connection, orders: OrderGenerator
) -> None:
    """Batches of each codec, and of none, are consumed in their order: the last version of each order wins."""
    made = [orders.order() for _ in range(ORDERS)]
    rounds = [None, *CODECS, None, *reversed(CODECS)]
    for version, codec in enumerate(rounds):
        await send_compressed(settings, codec, encoded(made, sm_id=version))
    last = {order["order_uid"]: len(rounds) - 1 for order in made}
    for number, order in zip(CODECS.values(), made, strict=False):
        odd = [(b"\xff\xfe", b"a header whose name is no text")]
        await send_odd(settings, [(None, encoded([order], sm_id=100 + number)[0], odd)], 0, compression=number)
        last[order["order_uid"]] = 100 + number
    await consumed(database, len(rounds) * ORDERS + len(CODECS))
    assert await stored(database) == last
    assert await letters(database) == []


@pytest.mark.parametrize("codec", CODECS)
async def test_consuming_begins_in_the_middle_of_a_compressed_batch(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, orders: OrderGenerator, codec: str
) -> None:
    """Kafka sends a compressed batch as a whole: what stands before the stored offset is left out."""
    made = [orders.order() for _ in range(ORDERS)]
    await send_compressed(settings, codec, encoded(made))
    middle = ORDERS // 3
    reset = await orderflow.run("offsets", "reset", "--partition", "0", "--to", str(middle), "--yes")
    assert reset.returncode == 0, reset.stderr
    await orderflow.start("engine", "--workers", "1", BATCH_MAX_ORDERS="7")
    await consumed(database, ORDERS - middle)
    assert await stored(database) == {order["order_uid"]: order["sm_id"] for order in made[middle:]}
