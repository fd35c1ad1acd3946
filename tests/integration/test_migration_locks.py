"""No migration reads or rewrites a large table while others wait for its lock: 10,000,000 orders take no longer.

PostgreSQL itself says what was read and rewritten: how long a small table takes shows nothing.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.endpoints import Endpoints
from tests.support.isolation import connect, own_database
from tests.support.many_orders import store_many
from tools.migrations import FOLDER, read_rules, sections

ROOT = Path(__file__).parents[2]
RULES = read_rules(ROOT / "pyproject.toml")
LARGE = ["orders", "order_items", "batches", "dead_letters"]
_FILES = "SELECT relname, relfilenode FROM pg_class WHERE relname = ANY($1) AND relkind = 'r'"
_READ = "SELECT relname, seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = ANY($1)"
_BATCHES = """
INSERT INTO batches (batch_id, consumer_group, topic, worker, host, sources, consumed_at, validated_at, committed_at,
                     messages, inserted, changed, unchanged, rejected)
SELECT gen_random_uuid(), 'g', 'orders', 'w', 'h', '[]', now(), now(), now(), 1, 1, 0, 0, 0 FROM generate_series(1, 100)
"""
_LETTERS = """
INSERT INTO dead_letters (topic, partition, kafka_offset, reason, produced_at, failed_at, batch_id, consumer_group)
SELECT 'orders', 0, n, 'not_json', now(), now(), gen_random_uuid(), 'g' FROM generate_series(1, 100) AS n
"""


def _up(path: Path) -> str:
    return next(part for part in sections(path.read_text(encoding="utf-8")) if part.direction == "up").sql


def _migrations() -> list[Path]:
    return sorted((ROOT / FOLDER).glob("*.sql"))


@pytest.fixture
async def filled(endpoints: Endpoints) -> AsyncIterator[asyncpg.Connection]:
    """Provide a database before the first migration that must not lock for long, with rows in all large tables."""
    async with own_database(endpoints.environment) as name:
        connection = await connect({**endpoints.environment, "POSTGRES_DATABASE": name})
        for path in _migrations():
            if path.name < RULES.first:
                await connection.execute(_up(path))
        await store_many(connection, "old-", 200)
        await connection.execute(_BATCHES)
        await connection.execute(_LETTERS)
        yield connection
        await connection.close(timeout=5)


async def _worked_on(connection: asyncpg.Connection, sql: str) -> set[str]:
    """Run a migration in a transaction; return the large tables whose rows it read one by one, or wrote again."""
    async with connection.transaction():
        before = [dict(await connection.fetch(query, LARGE)) for query in (_FILES, _READ)]
        await connection.execute(sql)
        after = [dict(await connection.fetch(query, LARGE)) for query in (_FILES, _READ)]
    return {name for old, new in zip(before, after, strict=True) for name in new if new[name] != old.get(name, 0)}


async def test_no_migration_works_on_a_large_table_while_it_is_locked(filled: asyncpg.Connection) -> None:
    """An exemption from building indexes concurrently is one for the engine's own tables, never for those of orders."""
    seen = 0
    for path in _migrations():
        if path.name < RULES.first:
            continue
        seen += 1
        if "transaction:false" in path.read_text(encoding="utf-8").splitlines()[0]:
            await filled.execute(_up(path))  # an index that is built concurrently: nobody waits
            continue
        exempt = {one.rule for one in RULES.exemptions if one.file == path.name}
        allowed = {"batches", "dead_letters"} if "require-concurrent-index-creation" in exempt else set()
        assert await _worked_on(filled, _up(path)) <= allowed, path.name
    assert seen


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("CREATE INDEX a ON orders (entry)", "orders"),
        ("ALTER TABLE orders ADD COLUMN a uuid DEFAULT gen_random_uuid()", "orders"),
        ("ALTER TABLE order_items ALTER COLUMN price TYPE bigint", "order_items"),
        ("ALTER TABLE batches ADD CHECK (messages >= 0)", "batches"),
        (
            "ALTER TABLE dead_letters ALTER COLUMN subject SET DEFAULT ''; UPDATE dead_letters SET subject = ''",
            "dead_letters",
        ),
    ],
)
async def test_what_takes_long_on_a_large_table_is_noticed(filled: asyncpg.Connection, sql: str, table: str) -> None:
    """An index, a rewrite, a check of all rows, an update."""
    assert table in await _worked_on(filled, sql)
    assert await _worked_on(filled, "ALTER TABLE orders ADD COLUMN harmless integer NOT NULL DEFAULT 7") == set()
