"""Hosts that are cut off, one of each kind after another: silent, not dead, while orders flow and are looked up.

Three brokers, a primary with its synchronous standby, a cache of three nodes and a replica, two engines and two HTTP
servers: each is on a host of its own. All heals without help, with one exception. PostgreSQL does not fail over by
itself: when the primary is cut off, the test does what a failover manager does. It promotes the standby, and ends the
old primary before its link is back.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout

from engine.kafka.group_member import SESSION_S
from engine.postgres.standby import COMMITS_WAIT
from orderflow.start.settings import Settings
from tests.chaos.checker import Report, link_to
from tests.chaos.engines import shared_out, worker_pids
from tests.chaos.fault_run import FaultRun
from tests.chaos.miniature import (
    BROKERS,
    ENGINES,
    PRIMARY,
    SERVERS,
    STANDBY,
    WORKERS,
    Crew,
    Miniature,
    miniature,
)
from tests.chaos.readers import readers
from tests.support.eventually import eventually
from tests.support.hosts import require_hosts
from tests.support.programs import Programs, Running
from tests.support.redis_servers import role_of
from tests.support.steady_load import offset_watch

pytestmark = [pytest.mark.usefixtures("nothing_unretrieved"), pytest.mark.timeout(400)]
WITHIN_S = 60.0
SILENT_S = 3.0
ON_ITS_WAY_S = 0.5
TAKEN_OVER_S = SESSION_S + 4.0
"""The group's session, and the rebalance after it."""


@pytest.fixture(scope="module")
async def built(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Miniature]:
    """Build the system, without engines and HTTP servers."""
    require_hosts()
    async with miniature(tmp_path_factory.mktemp("hosts")) as system:
        yield system


@pytest.fixture
async def environment(built: Miniature) -> AsyncIterator[dict[str, str]]:
    """Provide settings of the system with data of the test's own."""
    async with built.own_data() as found:
        yield found


@pytest.fixture
async def crew(built: Miniature, orderflow: Programs, settings: Settings) -> AsyncIterator[Crew]:
    """Start the engines and the HTTP servers, and wait until all workers share the partitions."""
    async with built.crew(orderflow) as programs:
        await whole(settings)
        yield programs


async def whole(settings: Settings) -> None:
    """Wait until the workers of both engines share the partitions."""
    link = link_to(settings)
    try:
        async with link.use() as database:
            await shared_out(database, among=len(ENGINES) * WORKERS)
    finally:
        link.drop()


async def health(server: Running) -> dict[str, Any] | None:
    """Return the parts of `/healthz`; None when the server is silent, or not there."""
    url = (await server.wait_for("http_listening"))["url"]
    try:
        async with (
            ClientSession(timeout=ClientTimeout(total=SILENT_S)) as session,
            session.get(f"{url}/healthz") as answer,
        ):
            parts: dict[str, Any] = (await answer.json())["checks"]
            return parts
    except (ClientError, TimeoutError):
        return None


async def all_say(crew: Crew, wanted: Callable[[dict[str, Any] | None], bool]) -> None:
    """Wait until the health that each server tells is the wanted one."""
    for server in crew.servers.values():
        await eventually(partial(health, server), wanted, WITHIN_S)


def all_well(parts: dict[str, Any] | None) -> bool:
    return parts is not None and {part["status"] for part in parts.values()} == {"ok"}


@asynccontextmanager
async def lookups(fault_run: FaultRun, settings: Settings, servers: Sequence[Running]) -> AsyncIterator[None]:
    """Look orders up at all these servers while the context is open. Fails when a lookup fails."""
    async with AsyncExitStack() as stack:
        crowds = [await stack.enter_async_context(readers(each, settings, fault_run.random)) for each in servers]
        yield
    fault_run.remark = "; ".join([*filter(None, [fault_run.remark]), *(crowd.check() for crowd in crowds)])


async def run(fault_run: FaultRun, break_things: Callable[[], Awaitable[None]]) -> Report:
    ledger = fault_run.ledger(change_share=0.3)
    ledger.answer_ms = 5000
    return await fault_run.under_load(break_things, ledger=ledger, messages=2000, per_second=200)


@pytest.mark.fault("43", "hosts: a broker is cut off, the group's coordinator")
async def test_two_brokers_go_on_without_the_one_that_is_cut_off(
    built: Miniature, crew: Crew, fault_run: FaultRun, settings: Settings
) -> None:
    """It leads partitions, too. The same workers go on meanwhile, and with it again afterwards."""
    pids = [worker_pids(engine) for engine in crew.engines.values()]

    async def cut_the_coordinator_off() -> None:
        await fault_run.progress()
        coordinator = await built.brokers.operator.coordinator(settings.kafka_group_id)
        with built.cut_off(built.network[BROKERS[coordinator - 1]]):
            await fault_run.progress(timeout_s=WITHIN_S)
        fault_run.healed()
        await built.brokers.complete()
        await built.brokers.operator.until_preferred(settings.kafka_topic)
        await fault_run.progress(timeout_s=WITHIN_S)
        await whole(settings)

    async with lookups(fault_run, settings, [*crew.servers.values()]):
        report = await run(fault_run, cut_the_coordinator_off)
    assert report.violations == []
    assert [worker_pids(engine) for engine in crew.engines.values()] == pids


@pytest.mark.fault("43", "hosts: an engine is cut off")
async def test_the_other_engine_takes_over_from_the_one_that_is_cut_off(
    built: Miniature, crew: Crew, fault_run: FaultRun, settings: Settings
) -> None:
    """All partitions, within the group's session; what is left of the old owner's work harms nobody when it is back."""
    lost, other = ENGINES

    async def cut_an_engine_off() -> None:
        clock = asyncio.get_running_loop().time
        await fault_run.progress()
        async with offset_watch(settings) as watch:
            await watch.every_partition_moves({})
            with built.cut_off(built.network[lost]):
                cut_s = clock()
                await asyncio.sleep(ON_ITS_WAY_S)  # what it has sent before the cut must not count as taken over
                await watch.every_partition_moves(dict(watch.positions), WITHIN_S)
                taken_over_s = clock() - cut_s
                await fault_run.progress()
                assert all_well_but_one_host(await health(crew.servers[SERVERS[0]]), other)
        fault_run.healed()
        await whole(settings)
        await fault_run.progress(timeout_s=WITHIN_S)
        fault_run.remark = f"taken over after {taken_over_s:.1f} s"
        assert taken_over_s < TAKEN_OVER_S

    async with lookups(fault_run, settings, [*crew.servers.values()]):
        report = await run(fault_run, cut_an_engine_off)
    assert report.violations == []


def all_well_but_one_host(parts: dict[str, Any] | None, left: str) -> bool:
    """Return whether all is well with the engine, and only the workers of the host that is left are told of."""
    return parts is not None and parts["engine"].get("hosts") == {left: WORKERS} and all_well(parts)


@pytest.mark.fault("43", "hosts: an HTTP server is cut off")
async def test_the_other_http_server_answers_for_the_one_that_is_cut_off(
    built: Miniature, crew: Crew, fault_run: FaultRun, settings: Settings
) -> None:
    """As if nothing had happened. The one that was away answers again by itself."""
    lost, other = (crew.servers[name] for name in SERVERS)

    async def cut_a_server_off() -> None:
        await fault_run.progress()
        with built.cut_off(built.network[SERVERS[0]]):
            assert await health(lost) is None
            await fault_run.progress()
            assert all_well(await health(other))
        fault_run.healed()
        await eventually(lambda: health(lost), all_well, WITHIN_S)
        async with lookups(fault_run, settings, [lost]):
            await fault_run.progress()

    async with lookups(fault_run, settings, [other]):
        report = await run(fault_run, cut_a_server_off)
    assert report.violations == []


@pytest.mark.fault("43", "hosts: a node of the cache is cut off")
async def test_a_replica_takes_over_from_the_node_that_is_cut_off(
    built: Miniature, crew: Crew, fault_run: FaultRun, settings: Settings
) -> None:
    """PostgreSQL answers meanwhile. The node is the replica when it is back, and brings no old answer with it."""
    lost, [replica] = built.cache.nodes[-1], built.cache.replicas

    async def cut_a_node_off() -> None:
        await fault_run.progress()
        with built.cut_off(built.host_of(lost)):
            await eventually(lambda: role_of(replica), "master".__eq__, WITHIN_S)
            await fault_run.progress(timeout_s=WITHIN_S)
            await all_say(crew, all_well)
        fault_run.healed()
        await eventually(lambda: role_of(lost), "slave".__eq__, WITHIN_S)
        await fault_run.progress()

    async with lookups(fault_run, settings, [*crew.servers.values()]):
        report = await run(fault_run, cut_a_node_off)
    assert report.violations == []


@pytest.mark.fault("43", "hosts: the synchronous standby is cut off")
async def test_ingest_waits_for_the_standby_that_is_cut_off(
    built: Miniature, crew: Crew, fault_run: FaultRun, settings: Settings
) -> None:
    """Both servers say so, and answer lookups; ingest goes on by itself when it is back."""

    async def cut_the_standby_off() -> None:
        await fault_run.progress()
        with built.cut_off(built.network[STANDBY]):
            await all_say(crew, names_the_standby)
            await fault_run.load_goes_on()
        fault_run.healed()
        await fault_run.progress(timeout_s=WITHIN_S)
        await whole(settings)

    async with lookups(fault_run, settings, [*crew.servers.values()]):
        report = await run(fault_run, cut_the_standby_off)
    assert report.violations == []


def names_the_standby(parts: dict[str, Any] | None) -> bool:
    return parts is not None and parts["postgresql"].get("cause") == COMMITS_WAIT


# The last of these tests: the others need the primary.
@pytest.mark.fault("43", "hosts: the primary is cut off, its standby promoted")
async def test_the_standby_that_is_promoted_is_found_when_the_primary_is_cut_off(
    built: Miniature, crew: Crew, fault_run: FaultRun, settings: Settings
) -> None:
    """By engines and servers that run on; cached orders are answered all the time; the old primary is ended first."""

    async def cut_the_primary_off() -> None:
        await fault_run.progress()
        with built.cut_off(built.network[PRIMARY]):
            await eventually(lambda: health(crew.servers[SERVERS[0]]), has_no_database, WITHIN_S)
            await fault_run.load_goes_on()
            await built.databases.standby.promote()
            fault_run.healed()
            await fault_run.progress(timeout_s=WITHIN_S)
            await built.databases.primary.kill()
        await all_say(crew, all_well)
        await whole(settings)
        await fault_run.progress(timeout_s=WITHIN_S)

    async with lookups(fault_run, settings, [*crew.servers.values()]):
        report = await run(fault_run, cut_the_primary_off)
    assert report.violations == []


def has_no_database(parts: dict[str, Any] | None) -> bool:
    return parts is not None and parts["postgresql"]["status"] != "ok"
