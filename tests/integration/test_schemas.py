"""Databases as others leave them: other tools' tables, gaps in the schema, roles with few rights, other encodings."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import attrs
import pytest
from aiohttp import ClientSession
from msgspec import json

from orderflow.exits import CannotStart
from orderflow.operating import migration
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import postgres_options
from orderflow.start.migrations import TABLE, latest_version, versions_of_program
from orderflow.start.preflight import check_schema
from orderflow.start.schema import read_schema
from orderflow.start.settings import Settings, parse_settings
from tests.support.endpoints import Endpoints
from tests.support.eventually import eventually
from tests.support.isolation import connect, own_database, unique
from tests.support.postgresql_servers import own_postgresql
from tests.support.programs import Finished, Programs
from tests.support.topic import send

PAGE = (Path(__file__).parents[2] / "docs" / "permissions.md").read_text(encoding="utf-8")
ROLES, GRANTS = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
MIDDLE = "20261127100000"
"""The migration that adds `orders.traceparent`."""


@asynccontextmanager
async def connected(environment: Mapping[str, str], database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect({**environment, "POSTGRES_DATABASE": database})
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


@pytest.fixture
async def role(endpoints: Endpoints) -> AsyncIterator[str]:
    """Provide the name of a role that the test creates. Its password is its name."""
    name = unique("role")
    yield name
    async with connected(endpoints.environment, endpoints.environment["POSTGRES_DATABASE"]) as connection:
        await connection.execute(f"DROP ROLE IF EXISTS {name}")


def login(role: str) -> dict[str, str]:
    return {"POSTGRES_USER": role, "POSTGRES_PASSWORD": role}


def statements(message: str) -> str:
    """Return the statements that a message says to run."""
    return re.search(r"`((?:CREATE|ALTER|GRANT) [^`]+)`", message)[1]  # type: ignore[index]


async def refusals(orderflow: Programs, *commands: str, **changes: str) -> set[str]:
    """Run commands at once, each of which must end with 3 and one line; return the different lines."""
    ended = await asyncio.gather(*(orderflow.run(*command.split(), **changes) for command in commands))
    assert [finished.returncode for finished in ended] == [3] * len(commands), ended
    assert not any("Traceback" in finished.stderr for finished in ended)
    return {finished.stderr.splitlines()[-1] for finished in ended}


async def refused_start(settings: Settings) -> str:
    with pytest.raises(CannotStart) as refused:
        await check_schema(settings)
    return str(refused.value)


async def the_finding(orderflow: Programs, **changes: str) -> tuple[str, str]:
    """Run the doctor; return the outcome and the message of its check of PostgreSQL."""
    ended = await orderflow.run("doctor", "--json", **changes)
    found = {finding["check"]: finding for finding in json.decode(ended.stdout)}["PostgreSQL"]
    return found["outcome"], found["message"]


@pytest.mark.parametrize(
    ("columns", "row", "commands"),
    [
        ("version bigint PRIMARY KEY, dirty boolean NOT NULL", "3, false", ("migrate", "engine", "serve", "dlq list")),
        ("version varchar PRIMARY KEY", "'20990101000000'", ("migrate", "engine")),
    ],
    ids=["golang-migrate", "Rails"],
)
async def test_a_table_of_another_tool_is_refused_and_a_schema_of_its_own_is_the_way_out(
    orderflow: Programs, endpoints: Endpoints, role: str, columns: str, row: str, commands: tuple[str, ...]
) -> None:
    """Every command says the same line and leaves theirs alone; after the statements in it, both live side by side."""
    async with own_database(endpoints.environment) as name, connected(endpoints.environment, name) as connection:
        await connection.execute(f"CREATE TABLE {TABLE} ({columns}); INSERT INTO {TABLE} VALUES ({row})")
        await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'")
        await connection.execute(f'GRANT CREATE ON DATABASE "{name}" TO {role}; GRANT SELECT ON {TABLE} TO {role}')
        theirs = await connection.fetch(f"SELECT * FROM public.{TABLE}")
        changes = {"POSTGRES_DATABASE": name, **login(role)}
        [line] = await refusals(orderflow, *commands, **changes)
        assert "belongs to another migration tool" in line
        assert await the_finding(orderflow, **changes) == ("failed", line.removeprefix("orderflow: "))
        owner = await connect({**endpoints.environment, **changes})
        await owner.execute(statements(line))
        await owner.close()
        migrated = await orderflow.run("migrate", **changes)
        assert migrated.returncode == 0, migrated.stderr
        assert await connection.fetch(f"SELECT * FROM public.{TABLE}") == theirs
        assert await connection.fetchval("SELECT to_regclass('public.orders')") is None


async def test_a_migration_that_is_missing_in_the_middle_is_named_and_applied(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """It was merged after later ones had been applied: the newest version alone does not show it."""
    await database.execute(f"DELETE FROM {TABLE} WHERE version = '{MIDDLE}'")
    await database.execute("ALTER TABLE orders DROP COLUMN traceparent")
    line = await refused_start(settings)
    assert f"lacks the migration {MIDDLE}, although it has later ones (up to {latest_version()})" in line
    assert "run `orderflow migrate`" in line
    assert (await orderflow.run("migrate")).returncode == 0
    assert await check_schema(settings)


async def test_a_newer_schema_is_a_warning_that_names_both_versions(
    orderflow: Programs, database: asyncpg.Connection
) -> None:
    """A server starts, in the log; a command too, in a line; and migrate does not claim the program's own version."""
    await database.execute(f"INSERT INTO {TABLE} VALUES ('29990101000000')")
    both = f"schema (29990101000000) has migrations that this program ({latest_version()}) does not know"
    server = await orderflow.start("serve")
    assert both in (await server.wait_for("schema_is_newer"))["detail"]
    await server.wait_for("http_listening")
    listed, migrated = await asyncio.gather(orderflow.run("dlq", "list"), orderflow.run("migrate"))
    assert (listed.returncode, migrated.returncode) == (0, 0)
    assert both in listed.stderr
    assert "is at version 29990101000000" in migrated.stderr
    outcome, message = await the_finding(orderflow)
    assert (outcome, both in message) == ("warning", True)


async def test_six_migrate_a_missing_database_at_once(orderflow: Programs, endpoints: Endpoints) -> None:
    """As several machines do at their first start: one creates it, one applies the migrations, and all end with 0."""
    name = unique("orderflow_test")
    try:
        ended = await asyncio.gather(
            *(orderflow.run("migrate", POSTGRES_DATABASE=name, START_TIMEOUT_S="60", timeout_s=90) for _ in range(6))
        )
        assert [finished.returncode for finished in ended] == [0] * 6, ended
        assert sum(finished.stderr.count("Applying:") for finished in ended) == len(versions_of_program())
        assert all(f"is at version {latest_version()}" in finished.stderr for finished in ended)
    finally:
        async with connected(endpoints.environment, endpoints.environment["POSTGRES_DATABASE"]) as connection:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.mark.long
async def test_migrate_ends_when_another_one_does_not(orderflow: Programs, endpoints: Endpoints) -> None:
    """A command that hangs in the lock holds up the others for START_TIMEOUT_S: exit code 1, nothing applied."""
    async with own_database(endpoints.environment) as name, connected(endpoints.environment, name) as connection:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", int.from_bytes(b"orderflo"))
            ended = await orderflow.run("migrate", POSTGRES_DATABASE=name, START_TIMEOUT_S="1")
        assert ended.returncode == 1
        assert "another `orderflow migrate` is not done yet (waited 1 s)" in ended.stderr
        assert await connection.fetchval(f"SELECT to_regclass('{TABLE}')") is None


@pytest.mark.long
async def test_migrate_gives_up_when_the_server_is_lost_while_dbmate_works(
    settings: Settings, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dbmate itself would wait for an answer without end, and a large migration has no time-out."""
    monkeypatch.setattr(migration, "PING_S", 0.01)
    await database.execute(f"DELETE FROM {TABLE} WHERE version = '{MIDDLE}'")
    connection = await asyncpg.connect(**postgres_options(settings))
    ended = asyncio.Event()

    async def hang() -> None:
        await database.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(10):
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await migration.migrate_alone(connection, await read_schema(connection), 1, hang)
    assert ended.is_set()


async def test_a_role_without_the_right_to_create_has_nothing_to_do_or_is_told_what_it_lacks(
    orderflow: Programs, database: asyncpg.Connection, role: str
) -> None:
    """Nothing pending: 0. Something pending: 3, for the owner; the right to create alone would not be enough."""
    await database.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'; GRANT SELECT ON {TABLE} TO {role}")
    try:
        assert (await orderflow.run("migrate", **login(role))).returncode == 0
        await database.execute(f"DELETE FROM {TABLE} WHERE version = '{MIDDLE}'")
        await database.execute("ALTER TABLE orders DROP COLUMN traceparent")
        [line] = await refusals(orderflow, "migrate", **login(role))
        assert MIDDLE in line
        assert "as the owner of the tables" in line
        await database.execute(f"GRANT CREATE ON SCHEMA public TO {role}; GRANT INSERT ON {TABLE} TO {role}")
        [line] = await refusals(orderflow, "migrate", **login(role))
        assert "must be owner of table orders" in line
        await database.execute(f"REVOKE ALL ON {TABLE} FROM {role}")
        [line] = await refusals(orderflow, "migrate", **login(role))
        assert "docs/permissions.md" in line
    finally:
        await database.execute(f"DROP OWNED BY {role}")


@pytest.mark.long
async def test_migrate_does_not_begin_anew_in_a_schema_that_came_later(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """A schema with the role's name comes first in the search_path: commands go on, a new migration is refused."""
    schema = settings.postgres_user
    await database.execute(f'CREATE SCHEMA "{schema}"')
    assert (await orderflow.run("migrate")).returncode == 0
    assert await check_schema(settings)
    await database.execute(f"DELETE FROM {TABLE} WHERE version = '{MIDDLE}'")
    await database.execute("ALTER TABLE orders DROP COLUMN traceparent")
    [line] = await refusals(orderflow, "migrate")
    assert "the tables are in schema 'public'" in line
    await database.execute(statements(line))
    assert (await orderflow.run("migrate")).returncode == 0
    assert await database.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = $1", schema) == 0


async def test_tables_that_the_role_does_not_look_into_are_found(
    settings: Settings, database: asyncpg.Connection, role: str
) -> None:
    """`orderflow migrate` would be the wrong advice: the tables are there, in a schema that the role may not use."""
    await database.execute(f"ALTER SCHEMA public RENAME TO shop; CREATE ROLE {role} LOGIN PASSWORD '{role}'")
    await database.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA shop TO {role}")
    try:
        as_role = attrs.evolve(settings, postgres_user=role, postgres_password=role)
        line = await refused_start(as_role)
        assert "the tables are in schema 'shop'" in line
        await database.execute(statements(line))
        assert await check_schema(as_role)
    finally:
        await database.execute(f"DROP OWNED BY {role}")


async def test_a_database_that_cannot_store_every_letter_is_refused(orderflow: Programs, endpoints: Endpoints) -> None:
    """By migrate before it creates anything, by the engine before it reads anything, and by the doctor."""
    name, environment = unique("orderflow_test"), endpoints.environment
    async with connected(environment, environment["POSTGRES_DATABASE"]) as maintenance:
        await maintenance.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        try:
            [line] = await refusals(orderflow, "migrate", "engine", POSTGRES_DATABASE=name)
            assert "has the encoding LATIN1" in line
            assert "ENCODING 'UTF8'" in line
            assert await the_finding(orderflow, POSTGRES_DATABASE=name) == ("failed", line.removeprefix("orderflow: "))
            async with connected(environment, name) as connection:
                assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
        finally:
            await maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_view_in_the_place_of_a_table_is_found(orderflow: Programs, database: asyncpg.Connection) -> None:
    """It has all the columns, but COPY, keys and locks need a table."""
    await database.execute("ALTER TABLE dead_letters RENAME TO letters; CREATE VIEW dead_letters AS TABLE letters")
    ended = await orderflow.run("doctor", "--json")
    found = {finding["check"]: finding for finding in json.decode(ended.stdout)}["PostgreSQL tables"]
    assert (ended.returncode, found["outcome"]) == (1, "failed")
    assert "not tables but views or foreign tables: dead_letters" in found["message"]


@pytest.mark.long
async def test_a_standby_is_waited_for_until_it_is_promoted(orderflow: Programs, tmp_path: Path) -> None:
    """Also on a server whose databases are SQL_ASCII by default: migrate creates one that is not. Reading works."""
    async with own_postgresql(tmp_path) as server:
        defaults = parse_settings(server.environment)
        changes = {**server.environment, **login(defaults.postgres_user), "POSTGRES_DATABASE": "shop"}
        async with connected(changes, defaults.postgres_database) as connection:
            await connection.execute("ALTER DATABASE template1 IS_TEMPLATE false")
            await connection.execute("DROP DATABASE template1")
            await connection.execute("CREATE DATABASE template1 ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
        migrated = await orderflow.run("migrate", **changes)
        assert migrated.returncode == 0, migrated.stderr
        await server.service.stop()
        (server.service.data / "standby.signal").touch()
        await server.service.start()
        listed, engine = await asyncio.gather(
            orderflow.run("dlq", "list", **changes), orderflow.run("engine", **{**changes, "START_TIMEOUT_S": "1"})
        )
        assert (listed.returncode, engine.returncode) == (0, 1)
        assert "PostgreSQL is a standby" in engine.stderr.splitlines()[-1]
        waiting = await orderflow.start("engine", "--workers", "1", **changes)
        await waiting.wait_for("waiting_for_service", service="PostgreSQL")
        async with connected(changes, "shop") as connection:
            await connection.execute("SELECT pg_promote()")
        await waiting.wait_for("partition_opened")
        assert await waiting.stop() == 0


def named(script: str, owner: str, app: str, database: str, schema: str) -> str:
    """Put the test's names into the page's script."""
    names = {"orderflow_owner": owner, "orderflow_app": app, "owner-password": owner, "app-password": app}
    for name, own in {**names, "order_service": f'"{database}"', "shop": schema}.items():
        script = re.sub(rf"\b{name}\b", own, script)
    return script


async def consume_with(orderflow: Programs, settings: Settings, database: asyncpg.Connection, app: str) -> None:
    """Run what the page says the role `app` can do."""
    [order] = [OrderGenerator(seed=7).order()]
    uid = order["order_uid"].encode()
    await send(settings, (uid, json.encode(order)), (uid, b"no order"), partition=0)
    engine = await orderflow.start("engine", "--workers", "1", **login(app))
    server = await orderflow.start("serve", **login(app))
    await engine.wait_for("dead_letter_published")
    url = (await server.wait_for("http_listening"))["url"]
    async with ClientSession(url) as client, client.get(f"/order/{order['order_uid']}") as answer:
        assert answer.status == 200
    replayed = await orderflow.run("dlq", "replay", "--everything", **login(app))
    assert replayed.returncode == 0, replayed.stderr
    await engine.wait_for("dead_letters_replayed", rejected=1)
    done: list[Finished] = await asyncio.gather(
        *(
            orderflow.run(*command.split(), **login(app))
            for command in ("offsets show", "offsets reset", "prune", "brake status", f"trace {order['order_uid']}")
        )
    )
    assert [finished.returncode for finished in done] == [0] * len(done), done
    doctor = await orderflow.run("doctor", "--json", **login(app))
    problems = [finding for finding in json.decode(doctor.stdout) if finding["outcome"] == "failed"]
    assert (doctor.returncode, problems) == (0, [])
    await send(settings, (uid, json.encode({**order, "locale": "xx"})), partition=0)
    read = "SELECT locale FROM orders"
    await eventually(lambda: database.fetchval(read), lambda locale: locale == "xx")
    assert await engine.stop() == 0
    assert await server.stop() == 0
    assert not [line for line in (*engine.events, *server.events) if line["level"] == "error"]


async def test_a_schema_of_another_name_and_a_role_with_the_documented_rights_are_enough(
    orderflow: Programs, settings: Settings, endpoints: Endpoints, role: str
) -> None:
    """The page's statements as they stand: the owner migrates an empty database, everything else runs as the app."""
    owner, app = f"{role}_owner", role
    async with own_database(endpoints.environment) as name, connected(endpoints.environment, name) as connection:
        try:
            await connection.execute(named(ROLES, owner, app, name, "shop"))
            changes = {"POSTGRES_DATABASE": name}
            assert (await orderflow.run("migrate", **changes, **login(owner))).returncode == 0
            as_owner = await connect({**endpoints.environment, **changes, **login(owner)})
            await as_owner.execute(named(GRANTS, owner, app, name, "shop"))
            await as_owner.execute("SELECT 1 FROM orders")
            await as_owner.close()
            places = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('orders', 'schema_migrations')"
            assert [row[0] for row in await connection.fetch(places)] == ["shop"]
            await connection.execute("SET search_path = shop")
            within = Programs({**orderflow.environment, **changes}, orderflow.folder, orderflow.mark)
            try:
                await consume_with(within, settings, connection, app)
            finally:
                await within.close()
            assert (await orderflow.run("migrate", **changes, **login(owner))).returncode == 0
        finally:
            await connection.execute(f"DROP OWNED BY {app}")
            await connection.execute(f"DROP OWNED BY {owner}; DROP ROLE {owner}")


@pytest.mark.long
async def test_the_documented_rights_are_enough_for_existing_tables(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, role: str
) -> None:
    """Only the page's last part, for the schema and the owner that there are; the doctor misses nothing."""
    await database.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'")
    try:
        await database.execute(named(GRANTS, settings.postgres_user, role, settings.postgres_database, "public"))
        ended = await orderflow.run("doctor", **login(role))
        assert ended.returncode == 0, ended.stdout
    finally:
        await database.execute(f"DROP OWNED BY {role}")
