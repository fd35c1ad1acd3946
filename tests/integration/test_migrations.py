"""The migrations, applied and taken back by dbmate itself, and `orderflow migrate`."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from orderflow.exits import CannotStart, Failed
from orderflow.operating.dbmate import find_dbmate, npm, run_dbmate
from orderflow.operating.migration import migrate_alone
from orderflow.services.service import run_tool, silent
from orderflow.start.migrations import TABLE, latest_version, migrations_directory
from orderflow.start.schema import read_schema
from orderflow.start.settings import parse_settings
from tests.support.endpoints import Endpoints
from tests.support.isolation import connect, own_database
from tests.support.letters import store_letter
from tests.support.older_schema import migrate_before
from tests.support.programs import Programs

_SHAPE = """
SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default)
FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_migrations'
UNION ALL
SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid))
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 'schema_migrations'::regclass
UNION ALL
SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'schema_migrations'
ORDER BY 1
"""


@pytest.fixture
async def empty(endpoints: Endpoints) -> AsyncIterator[dict[str, str]]:
    """Provide settings with a database that holds nothing."""
    async with own_database(endpoints.environment) as name:
        yield {**endpoints.environment, "POSTGRES_DATABASE": name}


async def _dbmate(environment: dict[str, str], command: str) -> None:
    url = parse_settings(environment).postgres_url()
    await run_dbmate(await find_dbmate(silent), url, migrations_directory(), command)


async def _shape(connection: asyncpg.Connection) -> list[str]:
    return [row[0] for row in await connection.fetch(_SHAPE)]


async def test_each_migration_goes_up_down_and_up_again(empty: dict[str, str]) -> None:
    """Taking all migrations back leaves nothing behind; applying them again makes the same schema."""
    migrations = sorted(migrations_directory().glob("*.sql"))
    await _dbmate(empty, "up")
    connection = await connect(empty)
    try:
        applied = await _shape(connection)
        assert applied
        assert await connection.fetchval(f"SELECT max(version) FROM {TABLE}") == latest_version()
        for left in reversed(range(len(migrations))):
            await _dbmate(empty, "down")
            assert await connection.fetchval(f"SELECT count(*) FROM {TABLE}") == left
        assert await _shape(connection) == []
        await _dbmate(empty, "up")
        assert await _shape(connection) == applied
    finally:
        await connection.close()


async def test_migrate_creates_the_schema_and_may_be_repeated(orderflow: Programs, empty: dict[str, str]) -> None:
    """`orderflow migrate` brings an empty database to the newest version; a second run changes nothing."""
    for _ in range(2):
        ended = await orderflow.run("migrate", **empty)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout == ""
        assert f"is at version {latest_version()}" in ended.stderr
    connection = await connect(empty)
    try:
        assert await connection.fetchval("SELECT count(*) FROM orders") == 0
    finally:
        await connection.close()


async def test_migrate_says_what_it_applies_and_what_it_waits_for(
    orderflow: Programs, empty: dict[str, str], tmp_path: Path
) -> None:
    """Each migration by its name, as it is applied; a session that keeps it waiting, by its process id."""
    await migrate_before(latest_version(), empty, tmp_path)
    connection = await connect(empty)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(f"LOCK TABLE {TABLE} IN SHARE ROW EXCLUSIVE MODE")
        running = await orderflow.start("migrate", **empty)
        assert latest_version() in await running.wait_for_line("Applying: ")
        told = await running.wait_for_line("Still waiting for dbmate up, ")
        assert f": process {connection.get_server_pid()} (" in told
        assert told.endswith(" holds the lock")
        await transaction.rollback()
        assert await running.ended() == 0
        assert [line.partition(" ")[0] for line in running.stderr_lines if latest_version() in line][:2] == [
            "Applying:",
            "Applied:",
        ]
    finally:
        await connection.close()


async def test_migrate_refuses_a_wrong_password_without_showing_it(orderflow: Programs) -> None:
    """A wrong password is no reason to wait: exit code 3, and the message names the variable alone."""
    ended = await orderflow.run("migrate", POSTGRES_PASSWORD="swordfish")
    assert ended.returncode == 3
    assert "POSTGRES_PASSWORD" in ended.stderr
    assert "swordfish" not in ended.stderr + ended.stdout


async def test_migrate_gives_up_when_postgresql_never_answers(orderflow: Programs) -> None:
    """PostgreSQL that is down is waited for START_TIMEOUT_S long, then the exit code is 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ended = await orderflow.run("migrate", POSTGRES_PORT=str(port), START_TIMEOUT_S="0.5")
    assert ended.returncode == 1
    assert f"PostgreSQL did not answer on 127.0.0.1:{port} within 0.5 s" in ended.stderr


async def test_migrate_passes_a_failing_migration_on(orderflow: Programs, empty: dict[str, str]) -> None:
    """What PostgreSQL says about a migration that fails is what the user reads; the exit code is 1."""
    connection = await connect(empty)
    try:
        await connection.execute("CREATE TABLE order_items (in_the_way int)")
    finally:
        await connection.close()
    ended = await orderflow.run("migrate", **empty)
    assert ended.returncode == 1
    assert 'relation "order_items" already exists' in ended.stderr
    assert "Applying: " in ended.stderr
    assert "Applied: " not in ended.stderr


async def test_migrate_never_shows_the_url(orderflow: Programs, empty: dict[str, str], tmp_path: Path) -> None:
    """The URL holds the password: it is not on dbmate's command line, and a message that holds it is cleaned."""
    talkative = tmp_path / "dbmate"
    talkative.write_text('#!/bin/sh\necho "called with $*"\necho "cannot reach $DATABASE_URL" >&2\nexit 1\n')
    talkative.chmod(0o755)
    ended = await orderflow.run("migrate", **empty, DBMATE=str(talkative))
    assert ended.returncode == 1
    assert "cannot reach the database" in ended.stderr
    assert "postgres://" not in ended.stderr + ended.stdout


OLD_WORKERS = """
INSERT INTO workers (worker_id, worker, host, pid, state, partitions, restarts, started_at, heartbeat_at,
                     consumer_group, topic)
VALUES ('h/1/w0', 'worker-0', 'h', 7, 'idle', '{}', 0, now(), now(), 'g', 'orders'),
       ('h/1/w1', 'worker-1', 'h', 8, 'dead', '{}', 0, now(), now(), 'g', 'orders'),
       ('i/2/w0', 'worker-0', 'i', 7, 'idle', '{}', 0, now(), now() - interval '61 seconds', 'g', 'orders')
"""
KEY = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'dead_letters_pkey'"


async def test_the_key_of_letters_is_not_changed_under_workers_of_an_older_build(
    orderflow: Programs, empty: dict[str, str], tmp_path: Path
) -> None:
    """Exit code 3 and one line that says who they are; what came before it is applied; without them it all is."""
    await migrate_before("20261128", empty, tmp_path)
    connection = await connect(empty)
    try:
        await connection.execute(OLD_WORKERS)
        for _ in range(2):
            ended = await orderflow.run("migrate", **empty, START_TIMEOUT_S="0.5")
            assert ended.returncode == 3, ended.stderr
            assert ended.stderr.splitlines()[-1] == (
                "orderflow: cannot migrate: workers of an older build were heard in the last minute "
                "(worker-0 worker-1 of g on h): stop their engines, run `orderflow migrate` again, "
                "and start engines of the new build"
            )
            assert await connection.fetchval(f"SELECT max(version) FROM {TABLE}") == "20261128100000"
            assert await connection.fetchval(KEY) == "PRIMARY KEY (topic, partition, kafka_offset)"
        with pytest.raises(CannotStart, match="cannot migrate: workers of an older build"):
            await _dbmate(empty, "up")

        await connection.execute("UPDATE workers SET heartbeat_at = now() - interval '61 seconds' WHERE pid = 7")
        await connection.execute("UPDATE workers SET version = 1 WHERE pid = 8")
        ended = await orderflow.run("migrate", **empty)
        assert ended.returncode == 0, ended.stderr
        assert await connection.fetchval(KEY) == "PRIMARY KEY (consumer_group, topic, partition, kafka_offset)"
    finally:
        await connection.close()


async def test_migrate_waits_until_no_older_engine_is_heard(
    orderflow: Programs, empty: dict[str, str], tmp_path: Path
) -> None:
    """It says for whom, changes nothing meanwhile, and needs no second call when they have stopped."""
    await migrate_before("20261128", empty, tmp_path)
    connection = await connect(empty)
    try:
        await connection.execute(OLD_WORKERS)
        waiting = await orderflow.start("migrate", **empty)
        told = await waiting.wait_for_line("Waiting for older engines to stop, 20 s at most: ")
        assert "(worker-0 worker-1 of g on h)" in told
        assert await connection.fetchval(KEY) == "PRIMARY KEY (topic, partition, kafka_offset)"
        await connection.execute("DELETE FROM workers WHERE pid = 8")
        await connection.execute("DELETE FROM workers WHERE host = 'h'")
        assert await waiting.ended() == 0, waiting.tail()
        assert await connection.fetchval(KEY) == "PRIMARY KEY (consumer_group, topic, partition, kafka_offset)"
        assert await connection.fetchval(f"SELECT max(version) FROM {TABLE}") == latest_version()
    finally:
        await connection.close()


_LATER = "20990101000000_index_entries.sql"
_CONCURRENT = (
    "-- migrate:up transaction:false\n{before}CREATE INDEX CONCURRENTLY entries ON orders (entry);\n\n-- migrate:down\n"
)
_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('entries')"


async def test_an_index_of_a_large_table_is_built_concurrently_by_a_file_of_its_own(
    empty: dict[str, str], tmp_path: Path
) -> None:
    """A second statement ends it; the transaction that keeps other commands waiting does not keep the index waiting."""
    program, url = await find_dbmate(silent), parse_settings(empty).postgres_url()
    first, *rest = sorted(migrations_directory().glob("*.sql"))

    async def apply() -> None:
        await run_dbmate(program, url, tmp_path, "up")

    (tmp_path / first.name).write_text(first.read_text())
    (tmp_path / _LATER).write_text(_CONCURRENT.format(before="SET lock_timeout = '1s';\n"))
    with pytest.raises(Failed, match=r"CONCURRENTLY cannot .* a transaction block"):
        await apply()
    for migration in rest:
        (tmp_path / migration.name).write_text(migration.read_text())
    (tmp_path / _LATER).write_text(_CONCURRENT.format(before=""))
    connection = await connect(empty)
    try:
        assert await connection.fetchval(_VALID) is None
        async with asyncio.timeout(20):
            await migrate_alone(connection, await read_schema(connection), 5, apply)
        assert await connection.fetchval(_VALID) is True
    finally:
        connection.terminate()


async def test_taking_the_key_back_keeps_one_letter_of_a_place(empty: dict[str, str], tmp_path: Path) -> None:
    """The one that is not resolved, and of those the last to fail; a letter that is alone stays as it is."""
    await migrate_before("20261128100101", empty, tmp_path)
    program, url = await find_dbmate(silent), parse_settings(empty).postgres_url()
    connection = await connect(empty)
    settings = parse_settings(empty)
    try:
        for minute, group in enumerate(("resolved later", "older", "newer", "b")):
            failed_at = datetime(2026, 3, 4, 5, minute % 3 if group != "resolved later" else 50, tzinfo=UTC)
            columns = {"resolved_at": failed_at} if group == "resolved later" else {}
            await store_letter(connection, settings, failed_at=failed_at, consumer_group=group, **columns)
        await store_letter(connection, settings, kafka_offset=1, consumer_group="older")
        await run_dbmate(program, url, tmp_path, "down")
        left = await connection.fetch("SELECT kafka_offset, consumer_group FROM dead_letters ORDER BY 1")
        assert [tuple(row) for row in left] == [(0, "newer"), (1, "older")]
        assert await connection.fetchval(KEY) == "PRIMARY KEY (topic, partition, kafka_offset)"
    finally:
        await connection.close()


async def test_npm_of_the_wheel_runs_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """dbmate is installed with it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    command, path = npm()
    version = await run_tool("npm", [*command, "--version"], environment={"PATH": path, "HOME": str(tmp_path)})
    assert version.strip().count(".") == 2


async def test_where_dbmate_cannot_be_installed_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A service that may write nowhere: a restart does not help."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DBMATE", raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setattr("orderflow.operating.dbmate.cache_directory", lambda: tmp_path / "file" / "cache")
    with pytest.raises(CannotStart, match=r"cannot be made \(Not a directory\): install dbmate, or set DBMATE to it$"):
        await find_dbmate(silent)
