"""Messages that are small on their way and large when they are unpacked, behind a PostgreSQL that stands still."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from confluent_kafka import Producer
from msgspec import json

from orderflow.start.settings import Settings, parse_settings
from tests.chaos.engines import drain
from tests.chaos.partitions import made_orders, stored_uids, uids, until_at_end
from tests.support.brokers.operator import addresses, operator_of
from tests.support.brokers.surroundings import surroundings
from tests.support.endpoints import Endpoints
from tests.support.isolation import connect
from tests.support.programs import Programs

pytestmark = [pytest.mark.usefixtures("nothing_unretrieved"), pytest.mark.timeout(300)]
PARTITIONS = 64
ORDERS = 64 * 50
PADDING_BYTES = 100_000
"""In a field that is ignored: 320 MB are unpacked, and hardly any of them stored."""
HELD_S = 15
LIMIT_KIB = 200 * 1024
BLOCKED_S = 1.0
SLOW_STEPS = os.pathsep.join([str(Path(__file__).parent / "slow_steps"), *filter(None, [os.environ.get("PYTHONPATH")])])
_HELD = f"BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep({HELD_S}); COMMIT"
_PEAK = "SELECT max((details->>'memory_peak_kib')::bigint) FROM workers"
_SLOW = re.compile(r"Executing .* took (\d+\.\d+) seconds")


@pytest.fixture
async def environment(endpoints: Endpoints, template: str) -> AsyncIterator[dict[str, str]]:
    """Provide a topic of 64 partitions on the run's own broker."""
    operator = operator_of(parse_settings(endpoints.environment))
    async with surroundings(endpoints, template, {}, operator, PARTITIONS) as found:
        yield found
        await operator.delete_topics(found["KAFKA_TOPIC"], found["KAFKA_DLQ_TOPIC"])


def publish(settings: Settings) -> set[str]:
    """Publish to all partitions in turn, packed by zstd, in batches as librdkafka makes them; return the uids."""
    producer = Producer(
        {
            "bootstrap.servers": addresses(settings),
            "compression.type": "zstd",
            "linger.ms": 200,
            "queue.buffering.max.kbytes": 1024 * 1024,
        }
    )
    failed: list[object] = []
    orders = made_orders(151, ORDERS)
    for number, order in enumerate(orders):
        value = json.encode({**order, "padding": "x" * PADDING_BYTES})
        producer.produce(
            settings.kafka_topic,
            value,
            order["order_uid"].encode(),
            partition=number % PARTITIONS,
            on_delivery=lambda error, _message: failed.append(error) if error else None,
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    assert failed == []
    return uids(orders)


@asynccontextmanager
async def postgresql_held_up(environment: dict[str, str]) -> AsyncIterator[None]:
    """Let nobody write orders for `HELD_S`; at the end wait until that is over."""
    connection = await connect(environment)
    try:
        # The session works, by its own account: who waits for it must not end it.
        held = asyncio.create_task(connection.execute(_HELD), name="a lock on orders")
        yield
        await held
    finally:
        await connection.close(timeout=5)


@pytest.mark.fault("34", "64 partitions of well packed messages, PostgreSQL held up")
async def test_a_worker_stays_small_however_much_is_unpacked(
    orderflow: Programs, environment: dict[str, str], settings: Settings, database: asyncpg.Connection
) -> None:
    """Its peak is below 200 MB, and all is stored."""
    sent = await asyncio.to_thread(publish, settings)
    async with postgresql_held_up(environment):
        engine = await orderflow.start("engine", "--workers", "1")
    await until_at_end(database, settings, range(PARTITIONS), 120)
    assert await stored_uids(database) == sent
    await engine.wait_for("worker_started")
    assert 0 < await database.fetchval(_PEAK) <= LIMIT_KIB
    await drain(engine)


@pytest.mark.fault("34", "64 partitions of well packed messages: the event loop turns")
async def test_the_loop_of_a_worker_turns_while_it_unpacks(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """No step of it takes longer than a second, by asyncio's own measure."""
    await asyncio.to_thread(publish, settings)
    engine = await orderflow.start("engine", "--workers", "1", PYTHONASYNCIODEBUG="1", PYTHONPATH=SLOW_STEPS)
    await until_at_end(database, settings, range(PARTITIONS), 120)
    assert await engine.stop(timeout_s=30) == 0
    assert engine.stderr_lines.count("slow steps are told") == 2, "the supervisor's and the worker's are measured"
    took = [float(found[1]) for line in engine.stderr_lines if (found := _SLOW.search(line))]
    assert max(took, default=0.0) <= BLOCKED_S
