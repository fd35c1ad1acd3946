"""The network between the engine and its services misbehaves."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from msgspec import json
from redis.asyncio import Redis

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.chaos.engines import all_open
from tests.chaos.fault_run import FaultRun
from tests.chaos.network import Network
from tests.support.eventually import eventually
from tests.support.programs import Programs, Running
from tests.support.tcp_proxy import TcpProxy, Way
from tests.support.topic import send

CUT_TIMEOUT_S = 20
START_S = 40
"""A try takes 5 s at most, and another is made while START_TIMEOUT_S lasts; the rest is for a busy machine."""
DEADLINES_S = 100
"""Within this time every wait of the engine has met its deadline: a batch may take 60 s, a request to Kafka 20 s."""


@pytest.fixture
async def engine(orderflow: Programs, network: Network) -> Running:
    """Start an engine with two workers, all of whose connections go through the proxies."""
    return await all_open(orderflow, **network.environment)


async def new_orders_are_cached(settings: Settings, redis: Redis) -> None:
    """Show that the cache still follows: one new order after the other comes into Redis."""
    generator = OrderGenerator(seed=1707)
    for _ in range(3):
        order = generator.order()
        key = f"order:{order['order_uid']}"
        await send(settings, (None, json.encode(order)))
        await eventually(lambda key=key: redis.exists(key), bool)  # type: ignore[misc]


@pytest.mark.fault("17", "a slow network, then one that brings bytes one by one")
async def test_a_slow_network_slows_the_engine_and_nothing_else(
    engine: Running, network: Network, fault_run: FaultRun
) -> None:
    """Latency and single bytes on every connection: orders go on being stored meanwhile, each once."""

    async def slow_everything_down() -> None:
        await fault_run.progress()
        for proxy in network.proxies:
            proxy.delay(0.02, 0.2, fault_run.random)
        for _ in range(3):
            await fault_run.progress()
        await network.open()
        for proxy in network.proxies:
            proxy.slice(fault_run.random)
        for _ in range(3):
            await fault_run.progress()
        await network.open()

    report = await fault_run.under_load(slow_everything_down, messages=6000, per_second=300)
    assert report.violations == []
    assert await engine.stop() == 0


@pytest.mark.fault("17", "connections reset, and cut in the middle of a frame")
async def test_connections_that_break_are_made_anew(engine: Running, network: Network, fault_run: FaultRun) -> None:
    """Connections are reset, and cut within a frame either way: each order is stored once and logged."""

    def cut(proxy: TcpProxy, way: Way, text: bytes = b"") -> Callable[[], Awaitable[None]]:
        return lambda: asyncio.wait_for(proxy.cut(way, text), CUT_TIMEOUT_S)

    def reset(proxy: TcpProxy) -> Callable[[], Awaitable[None]]:
        async def reset_all() -> None:
            assert proxy.reset() > 0

        return reset_all

    breaks = [break_ for proxy in network.proxies for break_ in (reset(proxy), *(cut(proxy, way) for way in Way))]
    # A connection lost in the middle of the answer to COMMIT: nobody knows whether the batch is stored.
    breaks += [cut(network.postgres, Way.TO_CLIENT, b"COMMIT\0")] * 6
    fault_run.random.shuffle(breaks)

    async def break_connections() -> None:
        for break_ in breaks:
            await fault_run.progress()
            await break_()
            fault_run.healed()

    ledger = fault_run.ledger()
    report = await fault_run.under_load(break_connections, ledger=ledger, messages=6000, per_second=300)
    assert report.violations == []
    logged = {uid for line in engine.seen("orders_committed") for uid in line["order_uids"]}
    assert {one.uid for one in ledger.sent if one.version} <= logged
    assert await engine.stop() == 0


@pytest.mark.fault("17", "a black hole before Redis")
async def test_a_black_hole_before_redis_does_not_hold_up_ingest(
    engine: Running, network: Network, fault_run: FaultRun, settings: Settings, redis: Redis
) -> None:
    """Redis accepts and never answers: orders go on being stored, and the cache follows as soon as it answers."""

    async def swallow() -> None:
        await fault_run.progress()
        network.redis.swallow()
        await fault_run.load_goes_on()
        await engine.wait_for("outage_started", of="redis")
        for _ in range(3):
            await fault_run.progress(timeout_s=20)
        await network.redis.open()

    report = await fault_run.under_load(swallow, messages=4000, per_second=400)
    assert report.violations == []
    await new_orders_are_cached(settings, redis)
    assert await engine.stop() == 0


@pytest.mark.timeout(300)
@pytest.mark.fault("17", "a black hole before PostgreSQL and Kafka")
async def test_every_wait_for_postgresql_and_kafka_has_a_deadline(
    engine: Running, network: Network, fault_run: FaultRun, settings: Settings, redis: Redis
) -> None:
    """All connections go silent for good, and only new ones work: the engine gives the old ones up, unaided."""

    async def swallow() -> None:
        await fault_run.progress()
        for proxy in (network.postgres, network.kafka):
            proxy.swallow()
            await proxy.open()
        await fault_run.load_goes_on()
        fault_run.healed()
        await fault_run.progress(timeout_s=DEADLINES_S)

    report = await fault_run.under_load(swallow, messages=2000, per_second=400)
    assert report.violations == []
    await new_orders_are_cached(settings, redis)
    assert await engine.stop() == 0


@pytest.mark.fault("17", "a black hole before each service in turn, at start")
async def test_no_start_waits_for_ever(orderflow: Programs, network: Network) -> None:
    """A service that accepts and never answers is one that is away: exit 1 in time, and its address is named.

    Without Redis the engine starts all the same, and says so.
    """
    for proxy, variable in ((network.postgres, "POSTGRES_PORT"), (network.kafka, "KAFKA_BROKERS")):
        await network.open()
        proxy.swallow()
        ended = await orderflow.run("engine", timeout_s=START_S, START_TIMEOUT_S="1", **network.environment)
        assert ended.returncode == 1
        assert variable in ended.stderr.splitlines()[-1]
    await network.open()
    network.redis.swallow()
    engine = await orderflow.start("engine", START_TIMEOUT_S="1", **network.environment)
    assert (await engine.wait_for("started_without_redis"))["cause"] == "not_reachable"
    assert await engine.stop(timeout_s=40) == 0
    network.kafka.swallow()
    ended = await orderflow.run("publish", "10", timeout_s=START_S, START_TIMEOUT_S="1", **network.environment)
    assert ended.returncode == 1
