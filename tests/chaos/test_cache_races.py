"""Two who write the same answer into the cache, one of them late; and one who never came to write it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import pytest
from aiohttp import ClientSession, ClientTimeout
from redis.asyncio import Redis

from handlers.body import VERSION_WIDTH
from tests.chaos.checker import stale_answers
from tests.chaos.engines import all_open, armed
from tests.chaos.fault_run import FaultRun
from tests.chaos.network import Network
from tests.support.eventually import eventually
from tests.support.programs import Programs, Running
from tests.support.tcp_proxy import TcpProxy, Way

ROUNDS = 6
ORDERS_A_ROUND = 20
HELD_TIMEOUT_S = 10


async def hold_a_fill_back(
    network: Network, session: ClientSession, redis: Redis, uids: Sequence[str]
) -> dict[str, bytes]:
    """Look up orders that are not cached; return their bodies while these are still on their way into the cache."""

    async def look_up(uid: str) -> bytes:
        async with session.get(f"/order/{uid}") as answer:
            return await answer.read()

    await redis.delete(*(f"order:{uid}" for uid in uids))
    network.postgres.hold(Way.TO_CLIENT)
    first = asyncio.create_task(look_up("nobody's"))
    await held(network.postgres)
    # While that one waits, the others gather behind it: one query will answer them all, and one fill hold them all.
    asked = network.redis.captured = bytearray()
    lookups = [asyncio.create_task(look_up(uid)) for uid in uids]

    async def missing() -> list[str]:
        return [uid for uid in uids if uid.encode() not in asked]

    await eventually(missing, lambda found: not found)
    await network.postgres.open()
    network.postgres.hold(Way.TO_CLIENT)
    await held(network.postgres)
    network.redis.hold(Way.TO_SERVICE)
    await network.postgres.open()
    bodies = await asyncio.gather(*lookups)
    await first
    await held(network.redis)
    return dict(zip(uids, bodies, strict=True))


async def held(proxy: TcpProxy) -> None:
    """Wait until the proxy has something that it holds."""
    await asyncio.wait_for(proxy.holding.wait(), HELD_TIMEOUT_S)


async def newer_in_cache(redis: Redis, bodies: dict[str, bytes]) -> int:
    """Return how many of the orders the cache holds in a newer version than in `bodies`."""
    cached = await redis.mget([f"order:{uid}" for uid in bodies])
    pairs = zip(cached, bodies.values(), strict=True)
    return sum(present is not None and present[-VERSION_WIDTH:] > body[-VERSION_WIDTH:] for present, body in pairs)


async def uses_its_cache(server: Running) -> None:
    """Wait until the server has found Redis again, if it had lost it."""

    async def lost() -> int:
        return len(server.seen("cache_lost")) - len(server.seen("cache_back"))

    await eventually(lost, lambda times: times == 0)


@pytest.mark.fault("19", "a reader's fill is held back while a newer version is written")
async def test_a_late_fill_replaces_no_newer_answer(
    orderflow: Programs, network: Network, fault_run: FaultRun, database: asyncpg.Connection, redis: Redis
) -> None:
    """What a reader has read before a change arrives in Redis after it: the change stays."""
    engine = await all_open(orderflow)
    server = await orderflow.start("serve", **network.environment)
    url = (await server.wait_for("http_listening"))["url"]
    overtaken = 0

    async def let_fills_be_overtaken() -> None:
        nonlocal overtaken
        await fault_run.progress(messages=400)
        async with ClientSession(url, timeout=ClientTimeout(total=20)) as session:
            for _ in range(ROUNDS):
                await uses_its_cache(server)
                stored = [row["order_uid"] for row in await database.fetch("SELECT order_uid FROM orders")]
                uids = fault_run.random.sample(sorted(stored), ORDERS_A_ROUND)
                bodies = await hold_a_fill_back(network, session, redis, uids)
                await fault_run.progress(messages=500)
                newer = await newer_in_cache(redis, bodies)
                overtaken += newer
                await network.redis.open()
                await fault_run.progress()
                assert await newer_in_cache(redis, bodies) >= newer, "a late fill has replaced a newer answer"

    ledger = fault_run.ledger(change_share=0.85)
    report = await fault_run.under_load(let_fills_be_overtaken, ledger=ledger, messages=6000, per_second=400)
    fault_run.remark = f"{overtaken} fills overtaken"
    assert overtaken > 0, "no fill was overtaken: this run has shown nothing"
    assert report.violations == []
    assert await engine.stop() == 0


@pytest.mark.fault("19", "kill -9 between the commit of a change and its cache write")
async def test_a_change_whose_writer_died_is_caught_up(
    orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection, redis: Redis, tmp_path: Path
) -> None:
    """The old answers that a dead worker left in Redis are replaced within 30 s."""
    deadly = armed("after-commit=kill@20,after-commit=kill@40", tmp_path)
    engine = await all_open(orderflow, CACHE_WARM_ORDERS="0", **deadly)
    ledger = fault_run.ledger(change_share=0.4)
    left_behind = []

    async def die_twice() -> None:
        for death in (1, 2):
            await engine.wait_for("worker_died", count=death, timeout_s=60)
            left_behind.append(len(await stale_answers(database, redis, ledger.sent)))
            fault_run.healed()

    report = await fault_run.under_load(die_twice, ledger=ledger, messages=4000, per_second=400)
    fault_run.remark = f"{left_behind} old answers left behind"
    assert all(left_behind), "a worker died and left no old answer: this run has shown nothing"
    assert report.violations == []
    assert await engine.stop() == 0
