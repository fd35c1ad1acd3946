"""Lookups in crowds: of one cold order, of orders that nobody has, and of readers who hang up."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus

import asyncpg
import psutil
import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector
from redis.asyncio import Redis

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.chaos.engines import all_open
from tests.chaos.fault_run import FaultRun
from tests.chaos.network import Network
from tests.chaos.readers import readers
from tests.support.eventually import eventually
from tests.support.lookup_server import lookup_server
from tests.support.programs import Programs, Running
from tests.support.stored_orders import make_order, store_order
from tests.support.tcp_proxy import Way

CROWD, GROUP = 500, 50
ROUNDS = 5
HELD_TIMEOUT_S = 10
UNKNOWN = 10_000
LONG_UID = "x" * 490
MEMORY_GROWTH_BYTES = 5 * 1024 * 1024
"""What 20,000 lookups of uids of 500 characters may leave behind: fragments, and nothing that holds those uids."""


@pytest.fixture
async def server(orderflow: Programs, network: Network) -> Running:
    return await orderflow.start("serve", **network.environment)


def crowd(url: str) -> ClientSession:
    """Return a client that is as many as it likes."""
    return ClientSession(url, connector=TCPConnector(limit=0), timeout=ClientTimeout(total=60))


@pytest.fixture
async def client(server: Running) -> AsyncIterator[ClientSession]:
    async with crowd((await server.wait_for("http_listening"))["url"]) as session:
        yield session


async def look_up(client: ClientSession, uid: str) -> tuple[int, bytes]:
    async with client.get(f"/order/{uid}") as answer:
        return answer.status, await answer.read()


async def look_up_all(client: ClientSession, uids: Sequence[str]) -> set[int]:
    """Look all of `uids` up, `GROUP` at a time; return the statuses of the answers."""
    found: set[int] = set()
    for start in range(0, len(uids), GROUP):
        answers = await asyncio.gather(*(look_up(client, uid) for uid in uids[start : start + GROUP]))
        found |= {status for status, _ in answers}
    return found


@pytest.mark.fault("20", "500 lookups of one cold order at once", short=True)
async def test_a_crowd_that_wants_one_cold_order_costs_one_query(
    settings: Settings, database: asyncpg.Connection
) -> None:
    """Those who come while the first one's query runs share its answer: PostgreSQL hears the uid once."""
    generator = OrderGenerator(seed=20)
    # On a busy machine Redis may take longer than its usual deadline, and then nobody can share an answer.
    patience = {"cache_deadline_s": 10.0, "store_deadline_s": 10.0, "lookup_deadline_s": 30.0}
    async with lookup_server(settings, **patience) as server, crowd(f"http://127.0.0.1:{server.port}") as client:
        for _ in range(ROUNDS):
            order = make_order(generator)
            uid, body = order.order_uid, await store_order(database, order)
            queries = server.postgres.captured = bytearray()
            server.postgres.hold(Way.TO_CLIENT)
            first = asyncio.create_task(look_up(client, uid))
            await asyncio.wait_for(server.postgres.holding.wait(), HELD_TIMEOUT_S)
            reads = server.redis.captured = bytearray()
            others = [asyncio.create_task(look_up(client, uid)) for _ in range(CROWD - 1)]
            await eventually(lambda reads=reads, uid=uid: said(reads, uid), bool)  # type: ignore[misc]
            await server.postgres.open()
            assert set(await asyncio.gather(first, *others)) == {(HTTPStatus.OK, body)}
            assert queries.count(uid.encode()) == 1


async def said(heard: bytearray, text: str) -> bool:
    return text.encode() in heard


@pytest.mark.fault("20", "10,000 unknown orders are asked for, and some of them arrive")
async def test_an_order_that_was_asked_for_in_vain_is_found_as_soon_as_it_is_there(
    orderflow: Programs, server: Running, client: ClientSession, fault_run: FaultRun, redis: Redis
) -> None:
    """That an order is unknown is remembered nowhere: memory stays as it is, and the order is found at once."""
    ledger = fault_run.ledger()
    to_come = OrderGenerator(fault_run.seed)  # the ledger's orders, made by the same seed
    uids = [to_come.order()["order_uid"] for _ in range(1000)]
    assert await look_up_all(client, [*uids, *(f"{LONG_UID}{n}" for n in range(UNKNOWN))]) == {HTTPStatus.NOT_FOUND}
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    assert await look_up_all(client, [f"{LONG_UID}{n}" for n in range(UNKNOWN, 3 * UNKNOWN)]) == {HTTPStatus.NOT_FOUND}
    grown = process.memory_info().rss - before
    assert grown < MEMORY_GROWTH_BYTES
    assert await redis.dbsize() == 0
    engine = await all_open(orderflow)
    found_at_once = 0

    async def look_up_what_arrives() -> None:
        nonlocal found_at_once
        for line in range(1, 40):
            arrived = await engine.wait_for("orders_committed", count=line)
            for uid in set(uids) & set(arrived["order_uids"]):
                assert (await look_up(client, uid))[0] == HTTPStatus.OK
                found_at_once += 1

    report = await fault_run.under_load(look_up_what_arrives, ledger=ledger, messages=1500, per_second=300)
    fault_run.remark = f"{found_at_once} found at once, memory grew by {grown / 1024 / 1024:.1f} MiB"
    assert found_at_once > 0
    assert report.violations == []
    assert await look_up_all(client, uids) == {HTTPStatus.OK}


@pytest.mark.fault("21", "readers hang up behind a slow Redis")
async def test_nobody_gets_the_order_of_a_reader_who_hung_up(
    orderflow: Programs, server: Running, network: Network, fault_run: FaultRun, settings: Settings
) -> None:
    """Hundreds ask at once, half of them leave at any moment, and Redis answers late or too late: each gets his own."""
    await all_open(orderflow)

    async def slow_redis_down() -> None:
        await fault_run.progress()
        for slowest_s in (0.1, 0.4, 0.1):
            network.redis.delay(0.0, slowest_s, fault_run.random)
            await fault_run.progress(messages=600)
        await network.redis.open()

    # A busy machine may take longer than a lookup's deadline for hundreds at once: that is a 503, and nobody's order.
    visitors = readers(server, settings, fault_run.random, count=300, pause_s=0.5, impatience=0.5, lenient=True)
    async with visitors as seen:
        report = await fault_run.under_load(slow_redis_down, messages=3000, per_second=300)
    fault_run.remark = seen.check()
    assert seen.given_up > 100
    assert report.violations == []
