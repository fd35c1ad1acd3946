"""Migrations over many stored orders, while orders are written and read."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import attrs
import pytest

from bench.stored_orders import store_orders, stored_uid
from tests.support.endpoints import Endpoints
from tests.support.isolation import connect, own_database
from tests.support.older_schema import migrate_before
from tests.support.programs import Programs
from tools.migrations import read_rules

ROOT = Path(__file__).parents[2]
STORED = int(os.environ.get("ORDERFLOW_CHAOS_STORED", "500000"))
LONGEST_S = 1.0
"""How long a statement may wait for a migration, whatever is stored."""
PAUSE_S = 0.002
WARM = 50
"""So many statements do not count: their pages are on the disk."""
pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
_WRITE = "UPDATE orders SET entry = 'WBIL', updated_at = clock_timestamp() WHERE order_uid = $1"
_READ = "SELECT * FROM orders LEFT JOIN order_items USING (order_uid) WHERE order_uid = $1"


@attrs.define
class Waits:
    """How often a statement ran, and how long it took at most, in seconds."""

    count: int = 0
    longest_s: float = 0.0
    warm: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def repeat(self, connection: asyncpg.Connection, statement: str) -> None:
        """Run the statement for one stored order after the other, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            begun = clock()
            await connection.execute(statement, stored_uid(self.count * 7919 % STORED))
            self.longest_s = max(self.longest_s, clock() - begun)
            self.count += 1
            if self.count == WARM:
                self.longest_s = 0.0
                self.warm.set()
            await asyncio.sleep(PAUSE_S)


@pytest.fixture
async def filled(endpoints: Endpoints, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """Provide the settings of a database with many orders, before the migrations that must not lock for long."""
    async with own_database(endpoints.environment) as name:
        environment = {**endpoints.environment, "POSTGRES_DATABASE": name}
        await migrate_before(read_rules(ROOT / "pyproject.toml").first, environment, tmp_path)
        connection = await connect(environment)
        await store_orders(connection, STORED)
        await connection.close()
        yield environment


async def test_orders_are_written_and_read_while_a_large_table_is_migrated(
    orderflow: Programs, filled: dict[str, str]
) -> None:
    """`ORDERFLOW_CHAOS_STORED=10000000` stores as many as docs/upgrading.md tells of."""
    writing, reading = Waits(), Waits()
    connections = [await connect(filled), await connect(filled)]
    tasks = [
        asyncio.create_task(waits.repeat(connection, statement), name=statement[:6])
        for waits, connection, statement in zip((writing, reading), connections, (_WRITE, _READ), strict=True)
    ]
    clock = asyncio.get_running_loop().time
    try:
        await asyncio.gather(writing.warm.wait(), reading.warm.wait())
        begun = clock()
        ended = await orderflow.run("migrate", timeout_s=600, **filled)
        took = clock() - begun
        assert ended.returncode == 0, ended.stderr
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in connections:
            connection.terminate()
    told = f"{STORED:,} orders migrated in {took:.1f} s; the longest write {writing.longest_s * 1000:.0f} ms of "
    print(told + f"{writing.count}, the longest read {reading.longest_s * 1000:.0f} ms of {reading.count}")
    assert min(writing.count, reading.count) > 2 * WARM
    assert max(writing.longest_s, reading.longest_s) < LONGEST_S
