"""A synchronous standby that is away: commits wait, nothing that it does not have is shown, all goes on by itself."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientSession

from engine.postgres.standby import COMMITS_WAIT
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import consumed, eventually
from tests.support.isolation import connect
from tests.support.letters import letters, message, stored_version
from tests.support.postgresql_pair import Pair, postgresql_pair
from tests.support.programs import Programs, Running
from tests.support.topic import send

IMPATIENT = str(Path(__file__).parents[1] / "support" / "impatient")
_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'orderflow%'"
_HEARTBEAT_AGE = "SELECT extract(epoch FROM clock_timestamp() - max(heartbeat_at))::float8 FROM workers"

_VERSION = "SELECT xmin::text FROM consumed_offsets WHERE partition = 3"
_COMMANDS_WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name NOT LIKE 'orderflow _% of %'
"""
_SHOWN = "SELECT order_uid, sm_id, created_at, updated_at FROM orders ORDER BY order_uid"


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Provide a primary and its synchronous standby."""
    async with postgresql_pair(tmp_path) as started:
        yield started


@pytest.fixture
async def environment(environment: dict[str, str], pair: Pair) -> dict[str, str]:
    """Provide settings with the pair's database. Work on it is given up after a second, not after a minute."""
    impatience = {"PYTHONPATH": IMPATIENT, "LINK_DEADLINE_S": "1", "SHUTDOWN_TIMEOUT_S": "3"}
    return {**environment, **pair.environment, **impatience}


async def health_of_postgresql(client: ClientSession) -> dict[str, Any]:
    async with client.get("/healthz") as answer:
        part: dict[str, Any] = (await answer.json())["checks"]["postgresql"]
        return part


async def interrupt_a_reset(orderflow: Programs, database: asyncpg.Connection) -> None:
    """Interrupt `orderflow offsets reset` while its COMMIT waits. It must not take effect."""
    untouched = await database.fetchval(_VERSION)
    reset = await orderflow.start("offsets", "reset", "--partition", "3")
    await eventually(lambda: database.fetchval(_COMMANDS_WAITING), (1).__eq__)
    reset.send_signal(signal.SIGINT)
    await reset.process.wait()
    assert await database.fetchval(_VERSION) == untouched


async def start_engine(orderflow: Programs) -> Running:
    return await orderflow.start("engine", "--workers", "1")


async def test_what_the_standby_does_not_have_is_not_shown_until_it_returns(
    pair: Pair, orderflow: Programs, settings: Settings, database: asyncpg.Connection, orders: OrderGenerator
) -> None:
    """Orders, changes, dead letters: through deadlines, retries and a drain. Workers report, and the cause is told."""
    stored, new = orders.order(), orders.order()
    engine = await start_engine(orderflow)
    server = await orderflow.start("serve")
    await server.wait_for("http_listening")
    await send(settings, message(stored), partition=0)
    await consumed(database, 1)

    async with ClientSession(f"http://{settings.http_address}") as client:

        async def nothing_new() -> None:
            assert await database.fetchval("SELECT count(*) FROM orders") == 1
            assert await stored_version(database, stored) == stored["sm_id"]
            assert await letters(database) == []
            async with client.get(f"/order/{new['order_uid']}") as answer:
                assert answer.status == 404
            async with client.get(f"/order/{stored['order_uid']}") as answer:
                assert (await answer.json())["sm_id"] == stored["sm_id"]
            async with client.get("/readyz") as answer:
                assert answer.status == 200

        assert (await health_of_postgresql(client))["status"] == "ok"
        await pair.standby.kill()
        await send(settings, message(new), message(stored, sm_id=stored["sm_id"] + 1), (None, b"bad"), partition=0)
        await engine.wait_for("outage_continues", of="postgres", count=2, timeout_s=40)
        await nothing_new()
        assert (await health_of_postgresql(client))["cause"] == COMMITS_WAIT
        assert await database.fetchval(_HEARTBEAT_AGE) < 3
        assert await database.fetchval(_SESSIONS) < 20
        await interrupt_a_reset(orderflow, database)
        found = await orderflow.run("doctor")
        assert COMMITS_WAIT in found.stdout + found.stderr

        assert await engine.stop() == 1
        await nothing_new()
        engine = await start_engine(orderflow)
        await engine.wait_for("partition_opened", count=2)  # the rows of the others are locked
        await engine.wait_for("outage_continues", of="postgres", partition=0, count=2)
        await nothing_new()
        assert engine.seen("blocker_terminated") == []

        await pair.standby.start()
        await consumed(database, 4)
        await eventually(lambda: health_of_postgresql(client), lambda part: part["status"] == "ok")
        async with client.get(f"/order/{new['order_uid']}") as answer:
            assert answer.status == 200
    assert await stored_version(database, stored) == stored["sm_id"] + 1
    assert await database.fetchval("SELECT count(*) FROM orders") == 2
    assert len(await letters(database)) == 1
    assert await engine.stop() == 0


@pytest.mark.long
async def test_a_standby_that_takes_over_has_all_that_was_shown(
    pair: Pair, orderflow: Programs, settings: Settings, database: asyncpg.Connection, orders: OrderGenerator
) -> None:
    """What only the lost primary had was never shown, and is consumed again."""
    before, after = [orders.order() for _ in range(20)], [orders.order() for _ in range(20)]
    engine = await start_engine(orderflow)
    await send(settings, *map(message, before), partition=0)
    await consumed(database, 20)
    shown = await database.fetch(_SHOWN)
    await pair.standby.kill()
    changed = [message(order, sm_id=order["sm_id"] + 1) for order in before]
    await send(settings, *map(message, after), *changed, partition=0)
    await engine.wait_for("outage_continues", of="postgres", count=3, timeout_s=40)
    assert await database.fetch(_SHOWN) == shown
    await pair.primary.kill()
    await engine.stop()

    await pair.standby.start()
    await pair.standby.promote()
    place = {"POSTGRES_PORT": str(pair.standby.port)}
    successor = await connect({**pair.environment, **place})
    assert await successor.fetch(_SHOWN) == shown
    engine = await orderflow.start("engine", "--workers", "1", **place)
    await consumed(successor, 60)
    stored = {row["order_uid"]: row["sm_id"] for row in await successor.fetch(_SHOWN)}
    await successor.close()
    assert stored == {
        **{order["order_uid"]: order["sm_id"] + 1 for order in before},
        **{order["order_uid"]: order["sm_id"] for order in after},
    }
    assert await engine.stop() == 0
