"""A broker that comes back elsewhere, or stands still while the group shares out its partitions."""

import asyncio
import signal
from collections.abc import AsyncIterator

import asyncpg
import pytest

from orderflow.start.settings import Settings
from tests.chaos.engines import GRACE_S, all_open, drain, shared_out, started
from tests.chaos.partitions import ALL, made_orders, send_orders, until_at_end, until_stored
from tests.support.brokers.broker import MovableBroker, movable_broker
from tests.support.brokers.surroundings import surroundings
from tests.support.endpoints import Endpoints
from tests.support.isolation import PARTITIONS
from tests.support.programs import Programs

pytestmark = pytest.mark.usefixtures("nothing_unretrieved")
WITHIN_S = 60.0


@pytest.fixture(scope="module")
async def movable(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MovableBroker]:
    """Provide a broker that has two ports."""
    async with movable_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
async def environment(endpoints: Endpoints, template: str, movable: MovableBroker) -> AsyncIterator[dict[str, str]]:
    """Tell the engine both addresses."""
    kafka = {"KAFKA_BROKERS": movable.bootstrap}
    async with surroundings(endpoints, template, kafka, movable.broker.operator) as found:
        yield found


async def publish(settings: Settings, seed: int) -> list[dict[str, object]]:
    orders = made_orders(seed, 5 * PARTITIONS)
    for partition in ALL:
        await send_orders(settings, orders[partition::PARTITIONS], partition)
    return orders


@pytest.mark.fault("30", "all brokers move to the other address of the list")
async def test_an_engine_finds_a_broker_that_has_moved(
    orderflow: Programs, movable: MovableBroker, settings: Settings, database: asyncpg.Connection
) -> None:
    """There and back: what is published at the new address is stored within a minute, by the same workers."""
    engine = await all_open(orderflow)
    await until_stored(database, await publish(settings, 121))
    for seed in (122, 123):
        await movable.move()
        await until_stored(database, await publish(settings, seed), WITHIN_S)
        await until_at_end(database, settings)
    assert engine.seen("worker_died") == []
    await drain(engine)


@pytest.mark.fault("30", "SIGTERM after the brokers have moved away")
async def test_an_engine_ends_in_time_when_its_broker_has_moved(
    orderflow: Programs, movable: MovableBroker, settings: Settings, database: asyncpg.Connection
) -> None:
    """Cleanly, before it has found the new address, too."""
    engine = await all_open(orderflow)
    await until_stored(database, await publish(settings, 124))
    await movable.move()
    await drain(engine)


@pytest.mark.fault("30", "the broker frozen while the group shares out, then SIGTERM")
async def test_an_engine_ends_in_time_when_the_broker_is_away_during_a_rebalance(
    orderflow: Programs, movable: MovableBroker, settings: Settings, database: asyncpg.Connection
) -> None:
    """The group is in the middle of it: no wait is without an end, and whoever comes next goes on."""
    engine = await all_open(orderflow)
    await until_stored(database, await publish(settings, 125))
    guest = await orderflow.start("engine", "--workers", "2")
    try:
        await guest.wait_for("worker_started", timeout_s=40)
        movable.broker.freeze()
        await asyncio.sleep(1.0)  # a rebalance waits for members: it must be under way, and is not over
        first, second = await asyncio.gather(engine.stop(signal.SIGTERM, GRACE_S), guest.stop(signal.SIGTERM, GRACE_S))
    finally:
        movable.broker.thaw()
    assert (first, second) == (0, 0), engine.tail() + guest.tail()
    heir = await all_open(orderflow)
    await until_stored(database, await publish(settings, 126), WITHIN_S)
    await drain(heir)


@pytest.mark.fault("30", "the broker restarted while the group shares out")
async def test_a_group_is_shared_out_when_the_broker_was_away_during_a_rebalance(
    orderflow: Programs, movable: MovableBroker, settings: Settings, database: asyncpg.Connection
) -> None:
    """Both engines have their share within a minute, and all is stored."""
    engine = await all_open(orderflow)
    guest = await orderflow.start("engine", "--workers", "2")
    await guest.wait_for("worker_started", timeout_s=40)
    await movable.broker.kill()
    await movable.broker.start()
    await until_stored(database, await publish(settings, 127), WITHIN_S)
    await shared_out(database, among=4)
    await until_at_end(database, settings)
    await drain(engine)
    await drain(guest)


@pytest.mark.fault("30", "SIGTERM while the group shares out")
async def test_an_engine_ends_in_time_during_a_rebalance(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Each of three guests is told to end as soon as it has joined; the engine that stays has all partitions again."""
    engine = await started(orderflow, 1)
    for seed in (128, 129, 130):
        guest = await orderflow.start("engine", "--workers", "2")
        await guest.wait_for("worker_started", timeout_s=40)
        await drain(guest)
        await until_stored(database, await publish(settings, seed), WITHIN_S)
    await shared_out(database, among=1)
    await drain(engine)
