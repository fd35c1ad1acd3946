"""Writers that meet on the same orders, and somebody else's locks."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from msgspec import json

from orderflow.publishing.orders import Document, OrderGenerator
from orderflow.start.settings import Settings
from tests.chaos.engines import all_open, drain, started
from tests.chaos.fault_run import FaultRun
from tests.support.eventually import consumed, eventually
from tests.support.isolation import connect
from tests.support.programs import Programs
from tests.support.topic import send

ORDERS = 100
ROUNDS = 10
_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
_BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE pg_blocking_pids(pid) @> ARRAY[$1::int]"
_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'orderflow worker%' AND wait_event_type = 'Lock'
"""


@pytest.fixture
async def outsider(environment: dict[str, str]) -> AsyncIterator[asyncpg.Connection]:
    """Provide a connection that is none of orderflow's."""
    connection = await connect(environment)
    yield connection
    await connection.close(timeout=5)


def version(orders: list[Document], number: int) -> list[tuple[bytes | None, bytes | None]]:
    return [(None, json.encode({**order, "sm_id": number})) for order in orders]


def made(fault_run: FaultRun) -> list[Document]:
    generator = OrderGenerator(fault_run.seed)
    return [generator.order() for _ in range(ORDERS)]


async def nothing_refused(database: asyncpg.Connection) -> bool:
    return not await database.fetchval("SELECT count(*) FROM dead_letters")


@pytest.mark.fault("13", "two writers, the same orders in opposite order, and somebody else's lock")
async def test_writers_that_meet_on_the_same_orders_wait_for_each_other(
    orderflow: Programs,
    fault_run: FaultRun,
    settings: Settings,
    database: asyncpg.Connection,
    outsider: asyncpg.Connection,
) -> None:
    """No deadlock of our own making; a lock from outside is waited for; the last version wins everywhere."""
    orders = made(fault_run)
    first = await started(orderflow, 1)
    await send(settings, *version(orders, 0), partition=0)
    await consumed(database, ORDERS)
    await drain(first)
    before = await database.fetchval(_DEADLOCKS)
    for number in range(1, ROUNDS + 1):
        # Two workers own one of these partitions each.
        await send(settings, *version(orders, number), partition=0)
        await send(settings, *version(orders[::-1], number), partition=3)

    # Each writer would lock the orders of its own half, and then want the other's, if it went by the order of arrival.
    middle = [order["order_uid"] for order in orders[ORDERS // 2 - 2 : ORDERS // 2 + 2]]
    async with outsider.transaction():
        await outsider.execute("SELECT 1 FROM orders WHERE order_uid = ANY($1) FOR UPDATE", middle)
        engine = await all_open(orderflow)
        mine = outsider.get_server_pid()
        await eventually(lambda: database.fetchval(_BLOCKED, mine), lambda waiting: waiting > 0)
        await eventually(lambda: database.fetchval(_WAITING), lambda waiting: waiting == 2)
    await consumed(database, ORDERS + 2 * ROUNDS * ORDERS)
    versions = await database.fetch("SELECT DISTINCT sm_id FROM orders")
    assert [row["sm_id"] for row in versions] == [ROUNDS]
    assert await nothing_refused(database)
    await drain(engine)  # a backend reports its deadlocks at its end at the latest
    assert await database.fetchval(_DEADLOCKS) == before
    fault_run.remark = f"{2 * ROUNDS * ORDERS} changes of {ORDERS} orders"


@pytest.mark.fault("13", "a deadlock with somebody else's transaction")
async def test_the_victim_of_a_deadlock_tries_again_at_once(
    orderflow: Programs,
    fault_run: FaultRun,
    settings: Settings,
    database: asyncpg.Connection,
    outsider: asyncpg.Connection,
) -> None:
    """PostgreSQL ends the worker's transaction: it is written again, without an outage and without a dead letter."""
    orders = made(fault_run)
    engine = await started(orderflow, 1)
    await send(settings, *version(orders, 0), partition=0)
    await consumed(database, ORDERS)
    before = await database.fetchval(_DEADLOCKS)

    await outsider.execute("SET deadlock_timeout = '1min'")  # whoever looks first is the victim: the worker
    async with outsider.transaction():
        await outsider.execute("SELECT 1 FROM orders FOR UPDATE")
        await send(settings, *version(orders, 1), partition=0)
        mine = outsider.get_server_pid()
        await eventually(lambda: database.fetchval(_BLOCKED, mine), lambda waiting: waiting > 0)
        await outsider.execute("SELECT 1 FROM consumed_offsets FOR UPDATE")
    await eventually(lambda: database.fetchval(_DEADLOCKS), lambda found: found == before + 1)
    await consumed(database, 2 * ORDERS)
    assert [row["sm_id"] for row in await database.fetch("SELECT DISTINCT sm_id FROM orders")] == [1]
    assert await nothing_refused(database)
    assert engine.seen("outage_started") == []
    await drain(engine)
