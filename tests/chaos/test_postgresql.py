"""A PostgreSQL that crashes, cuts connections, takes no writes or lacks a table, under load: no data is to blame."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from orderflow.services import ServiceSet
from orderflow.start.settings import Settings
from tests.chaos.engines import all_open, consumes, worker_pids
from tests.chaos.fault_run import FaultRun
from tests.support.isolation import connect
from tests.support.programs import Programs, Running

TERMINATIONS = 20
TABLES = ("orders", "order_items", "consumed_offsets", "batches", "dead_letters")
AWAY_S = 5.0
_CUT_COPIES = """
SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY%'
"""
_CUT_ALL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = $1 AND application_name LIKE 'orderflow worker%'
"""


async def stood(
    orderflow: Programs,
    fault_run: FaultRun,
    fault: Callable[[Running], Awaitable[None]],
    messages: int = 4000,
    **environment: str,
) -> None:
    """Run an engine under load through `fault`: the same workers go on unaided, and every promise is kept."""
    engine = await all_open(orderflow, **environment)
    workers = worker_pids(engine)

    async def strike() -> None:
        await consumes(engine)
        await fault(engine)

    report = await fault_run.under_load(strike, messages=messages, per_second=400)
    assert report.violations == []
    assert worker_pids(engine) == workers
    assert await engine.stop(timeout_s=30) == 0


@pytest.mark.fault("14", "PostgreSQL restarted in immediate mode, twice", short=True)
async def test_a_crash_of_postgresql_is_waited_out(
    orderflow: Programs, fault_run: FaultRun, services: ServiceSet
) -> None:
    """Immediate shutdown and crash recovery under load: nothing is lost, repeated or dead-lettered.

    The workers go on within seconds, although they would try again after half a minute or more.
    """

    async def crash(engine: Running) -> None:
        for outages in (1, 2):
            await services.postgresql.stop_immediately()
            await engine.wait_for("outage_started", of="postgres", count=2 * outages)
            await services.postgresql.start()
            fault_run.healed()
            await engine.wait_for("outage_ended", of="postgres", count=2 * outages, timeout_s=12)

    delays = {"KAFKA_INITIAL_RETRY_DELAY_S": "60", "KAFKA_MAX_RETRY_DELAY_S": "60"}
    await stood(orderflow, fault_run, crash, **delays)


@pytest.mark.fault("14", f"backends terminated in the middle of a COPY, {TERMINATIONS} times")
async def test_backends_that_are_terminated_in_the_middle_of_a_copy_lose_nothing(
    orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection
) -> None:
    """The batch is rolled back and written again, each time."""

    async def terminate(engine: Running) -> None:
        terminated: set[int] = set()
        async with asyncio.timeout(60):
            while len(terminated) < TERMINATIONS:
                terminated |= {row["pid"] for row in await database.fetch(_CUT_COPIES)}
        fault_run.healed()
        await consumes(engine)
        tries = [*engine.seen("outage_started", of="postgres"), *engine.seen("outage_continues", of="postgres")]
        assert len(tries) >= TERMINATIONS / 2

    await stood(orderflow, fault_run, terminate, messages=8000)


@pytest.mark.fault("14", "PostgreSQL is read-only for some seconds")
async def test_a_read_only_postgresql_is_waited_out(
    orderflow: Programs, fault_run: FaultRun, environment: dict[str, str], settings: Settings
) -> None:
    """New connections may only read, as after a failover to a standby; when they may write again, all is written."""
    name = settings.postgres_database
    maintenance = await connect({**environment, "POSTGRES_DATABASE": "postgres"})

    async def forbid(engine: Running) -> None:
        await maintenance.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        await maintenance.execute(_CUT_ALL, name)
        await engine.wait_for("outage_continues", of="postgres", error="ReadOnlySQLTransactionError (25006)", count=6)
        await maintenance.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        fault_run.healed()
        await engine.wait_for("outage_ended", of="postgres", count=2, timeout_s=30)

    try:
        await stood(orderflow, fault_run, forbid)
    finally:
        await maintenance.close()


@pytest.mark.fault("15", f"each table renamed for {AWAY_S:g} s, one after the other")
async def test_a_missing_table_is_waited_out(
    orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection
) -> None:
    """A table that is not there is no fault of any order's: when it is back, all is written."""

    async def rename(engine: Running) -> None:
        for table in TABLES:
            await database.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
            await asyncio.sleep(AWAY_S)
            await database.execute(f"ALTER TABLE {table}_away RENAME TO {table}")
            fault_run.healed()
            await consumes(engine)
        undefined = "UndefinedTableError (42P01)"
        assert len(engine.seen("outage_started", of="postgres", error=undefined)) >= len(TABLES)

    await stood(orderflow, fault_run, rename, messages=12_000)
