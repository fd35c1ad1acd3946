"""Three brokers: leaders that die and move, and partitions whose only broker is away."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from orderflow.start.settings import Settings
from tests.chaos.engines import all_open, drain, started, worker_pids
from tests.chaos.fault_run import FaultRun
from tests.chaos.partitions import (
    ALL,
    made_orders,
    none_refused,
    refusals,
    send_orders,
    until_at_end,
    until_stored,
)
from tests.support.brokers.cluster import NODES, Cluster, three_brokers
from tests.support.brokers.surroundings import surroundings
from tests.support.endpoints import Endpoints
from tests.support.eventually import eventually
from tests.support.isolation import PARTITIONS
from tests.support.programs import Programs

pytestmark = [pytest.mark.usefixtures("nothing_unretrieved"), pytest.mark.timeout(400)]
AWAY = 3
LED, LEADERLESS = [0, 1], [2, 3]
ONE_REPLICA = {0: [1], 1: [2], 2: [AWAY], 3: [AWAY]}
WITHIN_S = 60.0


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Start the brokers."""
    async with three_brokers(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
async def cluster(running: Cluster) -> AsyncIterator[Cluster]:
    """Provide the brokers, for a test to stop; all run again afterwards."""
    yield running
    for broker in running.brokers.values():
        broker.thaw()
        await broker.start()
    await running.complete()


@pytest.fixture
async def environment(endpoints: Endpoints, template: str, cluster: Cluster) -> AsyncIterator[dict[str, str]]:
    """Lead the engine to them. The test makes the topic for orders."""
    kafka = {"KAFKA_BROKERS": cluster.bootstrap}
    async with surroundings(endpoints, template, kafka, cluster.operator, partitions=None) as found:
        yield found


async def replicated(cluster: Cluster, settings: Settings) -> None:
    await cluster.operator.create_plain_topic(settings.kafka_topic, PARTITIONS)


@pytest.mark.fault("31", "three brokers: leaders killed one after another")
async def test_leaders_may_be_killed_one_after_another(
    orderflow: Programs, fault_run: FaultRun, cluster: Cluster, settings: Settings
) -> None:
    """Each time the broker that leads partition 0, while orders flow; the same workers stand it."""
    await replicated(cluster, settings)
    engine = await all_open(orderflow)
    pids = worker_pids(engine)

    async def kill_leaders() -> None:
        for _ in range(2):
            await fault_run.progress(timeout_s=WITHIN_S)
            leader = (await cluster.operator.leaders(settings.kafka_topic))[0]
            await cluster.brokers[leader].kill()
            await fault_run.load_goes_on()
            await fault_run.progress(timeout_s=WITHIN_S)
            await cluster.brokers[leader].start()
            await cluster.complete()
        fault_run.healed()
        await fault_run.progress(timeout_s=WITHIN_S)

    report = await fault_run.under_load(kill_leaders, messages=2000, per_second=200)
    assert report.violations == []
    assert worker_pids(engine) == pids
    await drain(engine)


@pytest.mark.fault("31", "three brokers: a rolling restart, and leaders that move back")
async def test_brokers_may_be_restarted_one_by_one(
    orderflow: Programs, fault_run: FaultRun, cluster: Cluster, settings: Settings
) -> None:
    """As for an upgrade: leaders move off a broker that stops, and back to it while both brokers live."""
    await replicated(cluster, settings)
    engine = await all_open(orderflow)
    pids = worker_pids(engine)

    async def restart_all() -> None:
        for node in NODES:
            await cluster.brokers[node].restart()
            await cluster.complete()
            await cluster.operator.until_preferred(settings.kafka_topic)
            await fault_run.progress(timeout_s=WITHIN_S)
        fault_run.healed()

    report = await fault_run.under_load(restart_all, messages=2000, per_second=200)
    assert report.violations == []
    assert worker_pids(engine) == pids
    await drain(engine)


@pytest.mark.fault("29", "an engine started while 2 of 4 partitions have no leader")
@pytest.mark.parametrize("workers", [1, 2])
async def test_partitions_without_a_leader_hold_up_no_other(
    orderflow: Programs, cluster: Cluster, settings: Settings, database: asyncpg.Connection, workers: int
) -> None:
    """Those that have one are consumed; the others are named, and opened by themselves once their broker is back."""
    await cluster.operator.create_topic(settings.kafka_topic, ONE_REPLICA)
    orders = made_orders(141, 40)
    for partition in ALL:
        await send_orders(settings, orders[partition::PARTITIONS], partition)
    await cluster.brokers[AWAY].stop()
    await cluster.operator.until_leaderless(settings.kafka_topic, LEADERLESS)

    engine = await started(orderflow, workers)
    await until_at_end(database, settings, LED, WITHIN_S)
    told = await eventually(lambda: refusals(database), lambda found: sorted(found) == LEADERLESS, WITHIN_S)
    assert {refusal["reason"] for refusal in told.values()} == {"no_leader"}
    assert all(refusal["fix"] for refusal in told.values())
    await cluster.brokers[AWAY].start()
    await until_stored(database, orders, WITHIN_S)
    await none_refused(database)
    await drain(engine)


@pytest.mark.fault("29", "the only broker of 2 of 4 partitions dies and comes back")
async def test_partitions_that_lose_their_leader_hold_up_no_other(
    orderflow: Programs, cluster: Cluster, settings: Settings, database: asyncpg.Connection
) -> None:
    """While the engine runs: the others are consumed at once, and those two when their broker is back."""
    await cluster.operator.create_topic(settings.kafka_topic, ONE_REPLICA)
    engine = await all_open(orderflow)
    await cluster.brokers[AWAY].kill()
    await cluster.operator.until_leaderless(settings.kafka_topic, LEADERLESS)
    led = made_orders(142, 40)
    for partition in LED:
        await send_orders(settings, led[partition :: len(LED)], partition)
    await until_stored(database, led, WITHIN_S)
    await cluster.brokers[AWAY].start()
    await cluster.operator.until_led(settings.kafka_topic, ALL)
    back = made_orders(143, 40)
    for partition in LEADERLESS:
        await send_orders(settings, back[partition - 2 :: len(LEADERLESS)], partition)
    await until_stored(database, back, WITHIN_S)
    await none_refused(database)
    assert engine.seen("worker_died") == []
    await drain(engine)
