"""What open transactions hold back, and records with timestamps that cannot be true: told as they are."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from msgspec import json
from prometheus_client.parser import text_string_to_metric_families

from engine.kafka.lag_reader import LagReader
from engine.kafka.open_transactions import HANGING_S, OpenTransactions
from engine.kafka.topic_offsets import TopicOffsets
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings
from tests.support.eventually import consumed, eventually
from tests.support.isolation import unique
from tests.support.lookup_server import LookupServer, lookup_server
from tests.support.programs import Programs
from tests.support.topic import send

MINUTE_MS = 60_000
YEAR_MS = 365 * 24 * 60 * MINUTE_MS


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[LookupServer]:
    async with lookup_server(settings) as running:
        yield running


@asynccontextmanager
async def producing(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(acks="all", **options, **kafka_options(settings))
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def send_at(settings: Settings, timestamp_ms: int) -> None:
    """Send a message to partition 0 with this timestamp."""
    async with producing(settings) as producer:
        await producer.send_and_wait(settings.kafka_topic, b"one", partition=0, timestamp_ms=timestamp_ms)


async def told(orderflow: Programs) -> dict[str, Any]:
    """Return what the command says of partition 0."""
    ended = await orderflow.run("lag", "--json")
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.decode(ended.stdout)[0]
    return found


async def gauge(server: LookupServer, name: str) -> float | None:
    """Return a metric of partition 0 as it is from now on, None when there is no sample."""
    asked = datetime.now(UTC)

    async def taken() -> datetime:
        async with server.client.get("/operations/snapshot") as answer:
            return datetime.fromisoformat((await answer.json())["at"])

    # What is told is up to a second old.
    await eventually(taken, lambda at: at > asked)
    async with server.client.get("/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
    return {
        sample.labels["partition"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"orderflow_partition_{name}"
    }.get("0")


async def kafka(server: LookupServer) -> dict[str, Any]:
    async with server.client.get("/healthz") as answer:
        found: dict[str, Any] = (await answer.json())["checks"]["kafka"]
        return found


async def both(orderflow: Programs, server: LookupServer) -> tuple[float | None, float | None]:
    """Return the lag in seconds, by the command and by the gauge."""
    return (await told(orderflow))["lag_s"], await gauge(server, "lag_seconds")


async def test_no_timestamp_falsifies_the_lag_and_all_tell_the_same(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, server: LookupServer
) -> None:
    """One from the future that was consumed, one of last year that waits first, and one without that does."""
    engine = await orderflow.start("engine", "--workers", "1")
    began_s = time.time()
    await send_at(settings, int(began_s * 1000) + 50 * MINUTE_MS)
    await consumed(database, 1)
    assert await engine.stop() == 0
    await send_at(settings, -1)
    assert await both(orderflow, server) == (None, None), "neither message tells when it was sent"

    await database.execute("UPDATE consumed_offsets SET next_offset = 2 WHERE partition = 0")
    await send_at(settings, int(time.time() * 1000) - 30_000)
    seconds = await both(orderflow, server)
    assert all(found is not None and 30 <= found < 60 for found in seconds), seconds

    await database.execute(
        "UPDATE consumed_offsets SET next_offset = 3, last_timestamp = $1, updated_at = now() WHERE partition = 0",
        int(time.time() * 1000),
    )
    await send_at(settings, int(time.time() * 1000) - YEAR_MS)
    seconds = await both(orderflow, server)
    assert all(found is not None and 0 <= found < 40 for found in seconds), seconds


async def test_what_an_open_transaction_holds_back_is_told_and_is_no_lag(
    orderflow: Programs, settings: Settings, server: LookupServer
) -> None:
    """By the command, health, operations and metrics, at once; and that all is well until it hangs."""
    async with producing(settings, transactional_id=unique("open")) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(settings.kafka_topic, b"open", partition=0)
        await send(settings, *[(None, b"plain")] * 100, partition=0)
        found = await told(orderflow)
        assert (found["lag"], found["lag_s"], found["held_by_transaction"]) == (0, 0.0, 101)
        assert await gauge(server, "held_messages") == 101
        assert await gauge(server, "lag_messages") == 0
        health = await kafka(server)
        assert (health["status"], health["held"]) == ("ok", {"0": 101})
        head, first, *_ = (await orderflow.run("lag")).lines
        assert first.split()[head.split().index("held")] == "101"
        await producer.commit_transaction()

    async def after() -> dict[str, Any]:
        return await told(orderflow)

    found = await eventually(after, lambda found: found["held_by_transaction"] == 0)
    assert found["lag"] >= 101
    assert (await kafka(server))["held"] == {}


async def test_a_transaction_that_hangs_is_a_failure(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifteen minutes after its first message, which is as old as the clocks say; an odd timestamp makes none hang."""
    offsets = TopicOffsets(kafka_options(settings), settings.kafka_topic, 5)
    await send(settings, (None, b"before"), partition=1)
    now_s = time.time()
    async with producing(settings, transactional_id=unique("hanging")) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(settings.kafka_topic, b"open", partition=0)
        odd = int(now_s * 1000) - YEAR_MS
        await producer.send_and_wait(settings.kafka_topic, b"odd", partition=1, timestamp_ms=odd)
        found = await OpenTransactions(offsets).look(now_s)
        assert {partition: held.hangs for partition, held in found.items()} == {0: False, 1: False}
        later = await OpenTransactions(offsets).look(now_s + HANGING_S + 30)
        assert {partition: held.hangs for partition, held in later.items()} == {0: True, 1: True}
        monkeypatch.setattr("lookup.operations.broker_check.time.time", lambda: now_s + HANGING_S + 30)
        async with lookup_server(settings) as server:
            health = await kafka(server)
            assert health["status"] == "unavailable"
            assert health["error"].startswith("a transaction is open for longer than 15 minutes")
            assert health["held"] == {"0": 1, "1": 1}
            assert all(seconds > HANGING_S for seconds in health["held_s"].values())
        await producer.abort_transaction()
    await offsets.close()


async def test_the_doctor_tells_how_to_end_a_transaction_that_hangs(orderflow: Programs, settings: Settings) -> None:
    """With the place where it begins; one that is young is no failure."""
    await send(settings, (None, b"before"), partition=2)
    hours_ago = int(time.time() * 1000) - 180 * MINUTE_MS
    async with producing(settings, transactional_id=unique("hanging")) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(settings.kafka_topic, b"open", partition=2)
        outcome, message = await transactions(orderflow)
        assert (outcome, message.startswith("partition 2: 1 messages wait behind a transaction")) == ("ok", True)
        await producer.send_and_wait(settings.kafka_topic, b"open", partition=1, timestamp_ms=hours_ago)
        outcome, message = await transactions(orderflow)
        assert outcome == "failed"
        command = f"abort --topic {settings.kafka_topic} --partition 1 --start-offset 0`"
        assert "a transaction is open for longer than 15 minutes (partition 1: 1 messages" in message
        assert f"run `kafka-transactions --bootstrap-server {settings.kafka_bootstrap[0]} {command}" in message
        await producer.abort_transaction()
    assert await transactions(orderflow) == ("ok", "no transaction holds messages back")


async def transactions(orderflow: Programs) -> tuple[str, str]:
    """Return what the doctor finds of open transactions."""
    ended = await orderflow.run("doctor", "--json")
    [found] = [one for one in json.decode(ended.stdout) if one["check"] == "Open transactions"]
    return found["outcome"], found["message"]


async def test_a_first_message_that_waits_is_asked_for_once(settings: Settings) -> None:
    """Whoever watches asks Kafka again only when the partition has moved on, and not at once then."""
    await send(settings, *[(None, b"one")] * 3, partition=0)
    offsets = TopicOffsets(kafka_options(settings), settings.kafka_topic, 5)
    asked: list[dict[int, int]] = []
    fetch = offsets.fetch_timestamps

    async def counted(wanted: dict[int, int], *arguments: int) -> dict[int, int | None]:
        asked.append(dict(wanted))
        return await fetch(wanted, *arguments)

    offsets.fetch_timestamps = counted  # type: ignore[method-assign, assignment]
    reader = LagReader(offsets)
    try:
        for _ in range(3):
            [first, *_] = await reader.read({}, time.time())
            assert first.messages == 3
            assert first.seconds is not None
    finally:
        await reader.close()
    assert asked == [{0: 0}]
