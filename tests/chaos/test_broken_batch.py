"""A batch that is broken on the broker's disk: it stops its own partition, and an operator decides about it."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import pytest
from msgspec import json

from orderflow.start.settings import Settings
from tests.chaos.checker import drained, last_offsets, stored_offsets
from tests.chaos.engines import drain, started
from tests.chaos.fault_run import FaultRun
from tests.chaos.partitions import (
    ALL,
    made_orders,
    none_refused,
    send_orders,
    stored_uids,
    uids,
    until_at_end,
    until_refused,
    until_stored,
)
from tests.support.brokers.broker import Broker, own_broker
from tests.support.brokers.segments import Batch, spoil_end, spoil_last_byte, spoil_length, spoil_offset
from tests.support.brokers.surroundings import surroundings
from tests.support.endpoints import Endpoints
from tests.support.isolation import PARTITIONS
from tests.support.programs import Finished, Programs, Running
from tests.support.topic import send_as_batch

pytestmark = pytest.mark.usefixtures("nothing_unretrieved")
BROKEN = 2
SOUND = [partition for partition in ALL if partition != BROKEN]
FIX = f"orderflow offsets skip --partition {BROKEN}"
SOON_S = 15.0
Spoil = Callable[[Broker, str, int], Batch]


@pytest.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    """Provide a broker that the tests of this module may stop and damage."""
    async with own_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
async def environment(endpoints: Endpoints, template: str, broker: Broker) -> AsyncIterator[dict[str, str]]:
    """Lead the engine to that broker."""
    kafka = {"KAFKA_BROKERS": broker.bootstrap}
    async with surroundings(endpoints, template, kafka, broker.operator) as found:
        yield found


async def send_batch(settings: Settings, orders: Sequence[dict[str, Any]]) -> None:
    """Put orders as one batch into `BROKEN`."""
    messages = [(order["order_uid"].encode(), json.encode(order)) for order in orders]
    await send_as_batch(settings, *messages, partition=BROKEN)


async def damage(
    broker: Broker,
    settings: Settings,
    spoil: Spoil,
    behind: Sequence[dict[str, Any]] = (),
    wait: Callable[[Sequence[dict[str, Any]]], Awaitable[None]] | None = None,
) -> Batch:
    """Put ten orders as one batch into `BROKEN`, others behind it, `wait` for them; spoil it with the broker down."""
    orders = made_orders(71, 10)
    await send_batch(settings, orders)
    if behind:
        await send_orders(settings, behind, BROKEN)
    if wait is not None:
        await wait(orders)
    await broker.stop()
    batch = spoil(broker, settings.kafka_topic, BROKEN)
    await broker.start()
    await broker.operator.until_led(settings.kafka_topic, ALL)
    assert batch.last - batch.first == 9
    return batch


async def refused_at_moved_batch(
    orderflow: Programs,
    broker: Broker,
    settings: Settings,
    database: asyncpg.Connection,
    moved: int,
    *batches: Sequence[dict[str, Any]],
) -> tuple[Running, Batch]:
    """Put batches into `BROKEN`, the last but one of which says that it begins `moved` offsets away from where it does.

    The engine that is started must stop in front of it.
    """
    for orders in batches[:-1]:
        await send_batch(settings, orders)
    batch = spoil_offset(broker, settings.kafka_topic, BROKEN, moved)
    await send_batch(settings, batches[-1])
    engine = await orderflow.start("engine", "--workers", "1")
    refused = await until_refused(engine, database, BROKEN, "corrupt_batch")
    assert refused["offset"] == batch.first
    return engine, batch


async def skip(orderflow: Programs, *arguments: str) -> Finished:
    """Run `orderflow offsets skip` for the broken partition."""
    return await orderflow.run("offsets", "skip", "--partition", str(BROKEN), "--yes", *arguments)


def assert_told(skipped: Finished, first: int, last: int) -> None:
    """Standard output and the log must name the range that is lost."""
    assert skipped.returncode == 0, skipped.stderr
    [line] = [line for line in skipped.events if line["event"] == "offsets_skipped"]
    assert line["partition"] == BROKEN
    for said in (skipped.stdout, json.encode(line).decode()):
        assert {first, last} <= {int(number) for number in re.findall(r"\d+", said)}, said


@pytest.mark.fault("27", "a batch is spoilt on disk, and its partition moved past it", short=True)
async def test_a_broken_batch_stops_its_own_partition_until_it_is_skipped(
    orderflow: Programs, broker: Broker, settings: Settings, database: asyncpg.Connection
) -> None:
    """What is before it is stored, it is refused with its remedy, and the skip tells what is lost and moves on."""
    before = made_orders(72, 5)
    await send_orders(settings, before, BROKEN)
    batch = await damage(broker, settings, spoil_last_byte)
    behind, sound = made_orders(73, 5), made_orders(74, 200)
    await send_orders(settings, behind, BROKEN)
    engine = await orderflow.start("engine", "--workers", "1")
    for partition in SOUND:
        await send_orders(settings, sound[partition::PARTITIONS], partition)
    await until_at_end(database, settings, SOUND)
    refused = await until_refused(engine, database, BROKEN, "corrupt_batch")
    assert (refused["offset"], refused["fix"]) == (batch.first, FIX)
    assert (await stored_offsets(database, settings))[BROKEN] == batch.first
    assert await stored_uids(database) >= uids(before)

    assert_told(await skip(orderflow), batch.first, batch.last)
    await until_at_end(database, settings)
    await until_stored(database, behind)
    await none_refused(database)
    assert await engine.stop(timeout_s=30) == 0


@pytest.mark.fault("27", "a batch is spoilt so that nobody can tell where it ends")
async def test_a_batch_without_a_certain_end_is_skipped_only_to_an_offset_that_is_given(
    orderflow: Programs, broker: Broker, settings: Settings, database: asyncpg.Connection
) -> None:
    """What it says of its end is not what follows: the command asks, changes nothing, and does what it is told."""
    behind = made_orders(75, 5)
    batch = await damage(broker, settings, spoil_end, behind)
    engine = await orderflow.start("engine", "--workers", "1")
    await until_refused(engine, database, BROKEN, "corrupt_batch")

    asked = await skip(orderflow)
    assert asked.returncode == 1
    assert "--to OFFSET" in asked.stderr
    assert (await stored_offsets(database, settings))[BROKEN] == batch.first
    assert_told(await skip(orderflow, "--to", str(batch.last + 1)), batch.first, batch.last)
    await until_at_end(database, settings)
    await until_stored(database, behind)
    assert await engine.stop(timeout_s=30) == 0


@pytest.mark.fault("27", "the length of a consumed batch is spoilt: the broker finds nothing behind it")
async def test_a_broker_that_does_not_find_its_way_is_told_and_passed(
    orderflow: Programs, broker: Broker, settings: Settings, database: asyncpg.Connection
) -> None:
    """It answers without an error and without records. The skip finds where there are some again."""
    consumed, unfound, behind = (made_orders(seed, 10) for seed in (76, 77, 78))
    engine = await started(orderflow, 1)
    await send_batch(settings, consumed)
    await until_stored(database, consumed)
    batch = spoil_length(broker, settings.kafka_topic, BROKEN)
    await send_batch(settings, unfound)
    refused = await until_refused(engine, database, BROKEN, "corrupt_batch")
    assert (refused["offset"], refused["fix"]) == (batch.last + 1, FIX)
    assert await engine.stop(timeout_s=30) == 0

    engine = await orderflow.start("engine", "--workers", "1")
    await until_refused(engine, database, BROKEN, "corrupt_batch")
    skipped = await skip(orderflow)
    end = (await stored_offsets(database, settings))[BROKEN]
    assert_told(skipped, batch.last + 1, end - 1)
    await send_batch(settings, behind)
    await until_at_end(database, settings)
    assert len(await stored_uids(database)) == 30 - (end - batch.last - 1)
    await none_refused(database)
    await drain(engine)


@pytest.mark.fault("27", "a batch says that it begins far behind the log's end")
async def test_a_batch_that_claims_to_be_far_ahead_is_skipped_and_stays_passed(
    orderflow: Programs, broker: Broker, settings: Settings, database: asyncpg.Connection
) -> None:
    """The broker sends it again before all that follows: what is behind it is consumed all the same."""
    lost, behind, later = (made_orders(seed, 10) for seed in (81, 82, 83))
    engine, batch = await refused_at_moved_batch(orderflow, broker, settings, database, 1_000_000, lost, behind)

    assert_told(await skip(orderflow), batch.first, batch.last)
    await until_stored(database, behind)
    await send_batch(settings, later)
    await until_stored(database, later)
    await until_at_end(database, settings)
    await none_refused(database)
    assert await stored_uids(database) == uids([*behind, *later])
    await drain(engine)


@pytest.mark.fault("27", "a batch says that it has offsets of the next one")
async def test_a_batch_that_reaches_into_the_next_one_is_skipped_alone(
    orderflow: Programs, broker: Broker, settings: Settings, database: asyncpg.Connection
) -> None:
    """The partition stops in front of it, and the next one is consumed whole."""
    first, lost, third = (made_orders(seed, 10) for seed in (84, 85, 86))
    engine, batch = await refused_at_moved_batch(orderflow, broker, settings, database, 3, first, lost, third)
    await until_stored(database, first)

    assert_told(await skip(orderflow), batch.first, batch.last)
    await until_stored(database, third)
    await none_refused(database)
    assert await stored_uids(database) == uids([*first, *third])
    await drain(engine)


@pytest.mark.fault("27", "a batch says that it has offsets of the one before it")
async def test_offsets_that_two_batches_claim_lose_nobody_in_silence(
    orderflow: Programs, broker: Broker, settings: Settings, database: asyncpg.Connection
) -> None:
    """The partition stops in front of the second one. What the skip advises consumes that from its beginning."""
    first, second, third = (made_orders(seed, 10) for seed in (88, 89, 90))
    engine, batch = await refused_at_moved_batch(orderflow, broker, settings, database, -3, first, second, third)
    await until_stored(database, first)

    advised = await skip(orderflow)
    assert advised.returncode == 1
    command = f"orderflow offsets reset --partition {BROKEN} --to {batch.first - 3}"
    assert command in advised.stderr
    assert (await orderflow.run(*command.split()[1:], "--yes")).returncode == 0
    await until_stored(database, [*second, *third])
    await none_refused(database)
    await drain(engine)


@pytest.mark.fault("27", "the last batch that was consumed is spoilt, and the engine starts again")
async def test_a_spoilt_batch_that_was_consumed_stops_its_partition_until_it_is_forgotten(
    orderflow: Programs, broker: Broker, settings: Settings, database: asyncpg.Connection
) -> None:
    """Whether the topic is still the same cannot be seen: an operator says so, and nothing is lost."""
    engine = await started(orderflow, 1)
    batch = await damage(broker, settings, spoil_last_byte, wait=lambda orders: until_stored(database, orders))
    assert await engine.stop(timeout_s=30) == 0

    engine = await orderflow.start("engine", "--workers", "1")
    refused = await until_refused(engine, database, BROKEN, "corrupt_batch")
    assert (refused["offset"], refused["fix"]) == (batch.last + 1, FIX)
    behind = made_orders(87, 5)
    await send_orders(settings, behind, BROKEN)
    skipped = await skip(orderflow)
    assert skipped.returncode == 0, skipped.stderr
    assert "nothing is lost" in skipped.stdout
    await until_stored(database, behind)
    await none_refused(database)
    await drain(engine)


@pytest.mark.fault("27", "a batch is spoilt on disk, one worker")
async def test_the_sound_partitions_of_one_worker_complete_at_their_pace(
    orderflow: Programs, broker: Broker, fault_run: FaultRun, settings: Settings, database: asyncpg.Connection
) -> None:
    """All that was acknowledged is stored, once, save what waits behind the broken batch."""
    await sound_ones_complete(orderflow, broker, fault_run, settings, database, workers=1)


@pytest.mark.fault("27", "a batch is spoilt on disk, two workers")
async def test_the_sound_partitions_of_two_workers_complete_at_their_pace(
    orderflow: Programs, broker: Broker, fault_run: FaultRun, settings: Settings, database: asyncpg.Connection
) -> None:
    """So with a neighbour on the same worker, and with partitions on another."""
    await sound_ones_complete(orderflow, broker, fault_run, settings, database, workers=2)


async def sound_ones_complete(
    orderflow: Programs,
    broker: Broker,
    fault_run: FaultRun,
    settings: Settings,
    database: asyncpg.Connection,
    workers: int,
) -> None:
    """Publish to all partitions, one of which has a broken batch, and check them; then skip it, and check all."""
    ledger = fault_run.ledger(change_share=0, repeat_share=0, invalid_share=0)
    await ledger.publish(400)
    batch = await damage(broker, settings, spoil_last_byte)
    engine = await started(orderflow, workers)
    await ledger.publish(3000, per_second=200)
    await drained(settings, last_offsets([one for one in ledger.sent if one.partition != BROKEN]), SOON_S)
    await until_refused(engine, database, BROKEN, "corrupt_batch")
    assert (await stored_offsets(database, settings))[BROKEN] == batch.first
    stored = await stored_uids(database)
    due = [one for one in ledger.sent if one.partition != BROKEN or one.offset < batch.first]
    assert [one for one in due if one.uid not in stored] == []

    assert_told(await skip(orderflow), batch.first, batch.last)
    await drained(settings, last_offsets(ledger.sent), 60)
    fault_run.report = await fault_run.check(ledger)
    assert fault_run.report.violations == []
    await drain(engine)
