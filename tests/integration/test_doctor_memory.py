"""`orderflow doctor` says when PostgreSQL's memory or log has become too small for the tables."""

from pathlib import Path

import asyncpg

from bench.stored_orders import store_orders
from orderflow.doctor.finding import Outcome
from orderflow.doctor.memory_checks import FEW_CHECKPOINTS, check_memory
from orderflow.operating.dbmate import find_dbmate, run_dbmate
from orderflow.services.service import silent
from orderflow.start.connections import postgres_options
from orderflow.start.migrations import migrations_directory
from orderflow.start.settings import parse_settings
from tests.support.postgresql_servers import own_postgresql

CHANGES = "UPDATE orders SET track_number = md5(random()::text) WHERE random() < 0.15"


async def test_each_setting_that_is_too_small_is_named(tmp_path: Path) -> None:
    """With the statement that raises it, first when checkpoints come early, then when the indexes have grown."""
    async with own_postgresql(tmp_path, "shared_buffers = 16MB", "max_wal_size = 32MB") as server:
        settings = parse_settings(server.environment)
        await run_dbmate(await find_dbmate(silent), settings.postgres_url(), migrations_directory(), "up")
        database = await asyncpg.connect(**postgres_options(settings))
        try:
            for _ in range(FEW_CHECKPOINTS):
                await database.execute("CHECKPOINT")
            assert (await check_memory(database)).outcome is Outcome.OK
            await store_orders(database, 20000)
            for _ in range(3 * FEW_CHECKPOINTS):
                await database.execute(CHANGES)
                await database.execute("CHECKPOINT")
            await database.execute("SELECT pg_stat_force_next_flush()")
            early = await check_memory(database)
            assert early.outcome is Outcome.WARNING
            assert "max_wal_size (32MB)" in early.message
            assert "ALTER SYSTEM SET max_wal_size = '128MB'; SELECT pg_reload_conf();" in early.message
            for _ in range(3):
                await database.execute("CREATE INDEX ON order_items (name, brand, track_number, rid)")
            large = await check_memory(database)
            assert large.outcome is Outcome.WARNING
            assert "are larger than shared_buffers (16MB)" in large.message
            assert "ALTER SYSTEM SET shared_buffers = " in large.message
        finally:
            await database.close()
