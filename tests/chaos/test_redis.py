"""Redis dies, forgets, is full, or falls silent under load, while orders are looked up all the time."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from redis.asyncio import Redis

from orderflow.services import ServiceSet
from orderflow.start.settings import Settings
from tests.chaos.checker import cache_settled
from tests.chaos.fault_run import FaultRun
from tests.chaos.readers import readers
from tests.support.programs import Running

PAUSE_S = 4


@pytest.fixture
async def memory(redis: Redis) -> AsyncIterator[Redis]:
    """Provide Redis, whose memory a test may limit: afterwards it has as much as before."""
    before = await redis.config_get("maxmemory", "maxmemory-policy")
    yield redis
    for name, value in before.items():
        await redis.config_set(name, value)


@pytest.mark.fault("18", "Redis is killed, and started again", short=True)
async def test_ingest_and_lookups_go_on_without_redis(
    engine: Running, server: Running, fault_run: FaultRun, services: ServiceSet, settings: Settings
) -> None:
    """Orders are stored and found all the time, quickly and without an error; afterwards no answer is stale."""

    async def kill_and_start() -> None:
        await fault_run.progress()
        await services.valkey.kill()
        await engine.wait_for("outage_started", of="redis")
        await server.wait_for("cache_lost")
        for _ in range(2):
            await fault_run.progress(timeout_s=20)
        await services.valkey.start()
        fault_run.healed()
        await engine.wait_for("outage_ended", of="redis")
        await server.wait_for("cache_back")

    ledger = fault_run.ledger(change_share=0.4)
    async with readers(server, settings, fault_run.random) as crowd:
        report = await fault_run.under_load(kill_and_start, ledger=ledger, messages=2500, per_second=400)
    assert report.violations == []
    fault_run.remark = crowd.check()
    assert await engine.stop() == 0


@pytest.mark.fault("18", "Redis is emptied, and frozen, and told to pause")
async def test_ingest_and_lookups_go_on_while_redis_forgets_or_is_silent(
    engine: Running, server: Running, fault_run: FaultRun, services: ServiceSet, settings: Settings, redis: Redis
) -> None:
    """What Redis forgets is read from PostgreSQL, and its silence costs one deadline, not one a lookup."""

    async def disturb() -> None:
        await fault_run.progress()
        await redis.flushdb()
        await fault_run.progress(timeout_s=20)
        services.valkey.freeze()
        await server.wait_for("cache_lost")
        await engine.wait_for("outage_started", of="redis")
        await fault_run.progress(timeout_s=20)
        services.valkey.thaw()
        await server.wait_for("cache_back")
        await engine.wait_for("outage_ended", of="redis")
        await redis.execute_command("CLIENT", "PAUSE", PAUSE_S * 1000, "ALL")
        await server.wait_for("cache_lost", count=2)
        await fault_run.progress(timeout_s=20)
        fault_run.healed()
        await server.wait_for("cache_back", count=2)

    ledger = fault_run.ledger(change_share=0.4)
    async with readers(server, settings, fault_run.random) as crowd:
        report = await fault_run.under_load(disturb, ledger=ledger, messages=5000, per_second=300)
    assert report.violations == []
    fault_run.remark = crowd.check()
    assert await engine.stop() == 0


@pytest.mark.fault("18", "Redis is full")
async def test_a_full_redis_holds_no_old_answer(
    engine: Running,
    server: Running,
    fault_run: FaultRun,
    settings: Settings,
    database: asyncpg.Connection,
    memory: Redis,
) -> None:
    """Where there is no room for a new version the old one goes: readers get what is stored, from PostgreSQL."""
    ledger = fault_run.ledger(change_share=0.4)

    async def fill_up() -> None:
        await fault_run.progress(messages=800)
        await memory.config_set("maxmemory-policy", "noeviction")
        await memory.config_set("maxmemory", "1mb")
        await fault_run.progress(messages=800, timeout_s=20)
        await engine.wait_for("cache_full")
        sent = list(ledger.sent)
        assert await cache_settled(database, memory, sent) == []
        await memory.config_set("maxmemory", "0")
        fault_run.healed()

    async with readers(server, settings, fault_run.random) as crowd:
        report = await fault_run.under_load(fill_up, ledger=ledger, messages=4000, per_second=300)
    assert report.violations == []
    fault_run.remark = crowd.check()
    assert await engine.stop() == 0
