"""Orders that are published in transactions: what was aborted is never stored, and markers and gaps stop nothing."""

import asyncio

import asyncpg
import pytest

from orderflow.start.settings import Settings
from tests.chaos.checker import stored_offsets
from tests.chaos.engines import all_open, drain, started
from tests.chaos.fault_run import FaultRun
from tests.chaos.ledger import Sent
from tests.chaos.partitions import (
    ALL,
    made_orders,
    none_refused,
    refusals,
    send_orders,
    stored_uids,
    uids,
    until_at_end,
    until_stored,
)
from tests.support.brokers.operator import Operator, operator_of
from tests.support.brokers.transactions import transactional_publisher
from tests.support.eventually import eventually
from tests.support.isolation import PARTITIONS
from tests.support.programs import Programs, Running

pytestmark = pytest.mark.usefixtures("nothing_unretrieved")
OPEN_AT_LATEST_S = 30
HANGING_MS = 2_000
ABORTED_BY_BROKER_S = 40


@pytest.fixture
def operator(settings: Settings) -> Operator:
    """Operate the run's broker."""
    return operator_of(settings)


@pytest.mark.fault("28", "transactions committed and aborted; then all is deleted", short=True)
async def test_stored_offsets_pass_markers_and_what_was_aborted(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, operator: Operator
) -> None:
    """They come to the broker's end, no aborted order is stored, and a topic that was emptied then is none lost."""
    engine = await orderflow.start("engine", "--workers", "1")
    aborted, kept = made_orders(81, 40), made_orders(82, 40)
    async with transactional_publisher(settings, ALL) as publisher:
        await publisher.committed(kept[:20])
        await publisher.aborted(aborted[:20])
        await publisher.committed(kept[20:])
        await publisher.aborted(aborted[20:])  # nothing comes behind these, to be consumed and take the offset along
    await until_at_end(database, settings)
    assert await stored_uids(database) == uids(kept)
    assert await engine.stop(timeout_s=30) == 0

    ends = await operator.ends(settings.kafka_topic, ALL)
    await operator.delete_records(settings.kafka_topic, dict.fromkeys(ALL, -1))
    again = await orderflow.start("engine", "--workers", "1")
    await again.wait_for("partition_opened", count=PARTITIONS)
    assert again.seen("partition_refused") == []
    assert await stored_offsets(database, settings) == ends
    assert await refusals(database) == {}
    assert await again.stop(timeout_s=30) == 0


@pytest.mark.fault("28", "an open transaction, and a reset to the end meanwhile", short=True)
async def test_a_reset_past_an_open_transaction_opens_by_itself(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """The stored offset is past what may be read: that is no loss, and what comes next is stored."""
    engine = await orderflow.start("engine", "--workers", "1")
    await engine.wait_for("partition_opened", count=PARTITIONS)
    async with transactional_publisher(settings, ALL) as publisher:
        transaction = await publisher.left_open(made_orders(85, 8))
        waiting = made_orders(86, 100)
        for partition in ALL:
            await send_orders(settings, waiting[partition::PARTITIONS], partition)
        assert await engine.stop(timeout_s=30) == 0
        reset = await orderflow.run("offsets", "reset", "--to", "latest", "--yes")
        assert reset.returncode == 0, reset.stderr
        again = await orderflow.start("engine", "--workers", "1")
        await eventually(lambda: looked_at(again), lambda count: count >= PARTITIONS)
        await transaction.commit()
    new = made_orders(87, PARTITIONS)
    for partition in ALL:
        await send_orders(settings, new[partition : partition + 1], partition)
    await until_stored(database, new, OPEN_AT_LATEST_S)
    await until_at_end(database, settings)
    await none_refused(database)
    assert await again.stop(timeout_s=30) == 0


async def looked_at(engine: Running) -> int:
    """Return how many partitions the engine has opened or refused."""
    return len(engine.seen("partition_opened")) + len(engine.seen("partition_refused"))


@pytest.mark.fault("28", "an open transaction before plain messages, then ended")
@pytest.mark.parametrize("end", ["commit", "abort"])
async def test_what_waits_behind_an_open_transaction_is_stored_when_it_ends(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, end: str
) -> None:
    """Nothing behind it is stored before; afterwards all is, and its own orders if it was committed."""
    engine = await all_open(orderflow)
    held, waiting = made_orders(88, 8), made_orders(89, 100)
    async with transactional_publisher(settings, ALL) as publisher:
        transaction = await publisher.left_open(held)
        for partition in ALL:
            await send_orders(settings, waiting[partition::PARTITIONS], partition)
        assert await stored_uids(database) == set()
        await (transaction.commit() if end == "commit" else transaction.abort())
    await until_at_end(database, settings)
    assert await stored_uids(database) == uids(waiting) | (uids(held) if end == "commit" else set())
    assert engine.seen("partition_refused") == []
    await drain(engine)


@pytest.mark.fault("28", "a transaction that hangs until the broker aborts it")
async def test_a_transaction_that_hangs_holds_nothing_up_for_ever(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Its producer says nothing any more; the broker aborts it, and what waited behind it is stored."""
    engine = await all_open(orderflow)
    hanging, waiting = made_orders(90, 8), made_orders(91, 40)
    async with transactional_publisher(settings, ALL, timeout_ms=HANGING_MS) as publisher:
        await publisher.left_open(hanging)
        for partition in ALL:
            await send_orders(settings, waiting[partition::PARTITIONS], partition)
        await until_stored(database, waiting, ABORTED_BY_BROKER_S)
        await until_at_end(database, settings)
    assert await stored_uids(database) == uids(waiting)
    await drain(engine)


@pytest.mark.fault("28", "transactions between plain messages under load, and an engine that restarts")
async def test_transactions_under_load_lose_and_repeat_nothing(
    orderflow: Programs, fault_run: FaultRun, settings: Settings, database: asyncpg.Connection
) -> None:
    """Every committed order is stored once, no aborted one, and the engine starts anew in the middle of it."""
    engine = await all_open(orderflow)
    ledger = fault_run.ledger()
    aborted = made_orders(92, 300)

    async def publish_in_transactions() -> None:
        nonlocal engine
        kept = made_orders(93, 300)
        async with transactional_publisher(settings, ALL) as publisher:
            for start in range(0, 300, 20):
                placed = await publisher.committed([{**order, "sm_id": 1} for order in kept[start : start + 20]])
                ledger.sent += [Sent(one.order["order_uid"], 1, one.partition, one.offset) for one in placed]
                await publisher.aborted(aborted[start : start + 20])
                if start == 140:
                    await drain(engine)
                    engine = await started(orderflow, workers=2)
                await asyncio.sleep(0.1)  # spread among the plain messages

    report = await fault_run.under_load(publish_in_transactions, messages=2000, per_second=300, ledger=ledger)
    assert report.violations == []
    await until_at_end(database, settings)
    assert await stored_uids(database) & uids(aborted) == set()
    await drain(engine)
