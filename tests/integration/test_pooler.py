"""Everything through PgBouncer as it is installed, with each way of pooling."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import attrs
import pytest
from aiohttp import ClientSession
from lookup.operations.checks import connection_of
from lookup.serving.store_reader import StoreReader, StoresUnavailable
from msgspec import json

from engine.postgres.blockers import BlockerWatch
from engine.postgres.connecting import connect
from engine.postgres.link import Link
from engine.postgres.offsets import open_offset
from engine.postgres.pooler import as_pooled
from engine.postgres.session import finding_by_key, session_of
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import postgres_options
from orderflow.start.migrations import latest_version
from orderflow.start.settings import Settings
from tests.support.endpoints import Endpoints
from tests.support.eventually import consumed, eventually
from tests.support.isolation import connect as connect_directly
from tests.support.isolation import unique
from tests.support.pgbouncer import own_pgbouncer
from tests.support.programs import Programs
from tests.support.topic import send

MODES = ("session", "transaction", "statement")
POOLING = pytest.mark.parametrize("mode", [pytest.param("session", marks=pytest.mark.long), "transaction"])
_MADE = """
SELECT current_setting('enable_seqscan'), current_setting('jit_above_cost'), current_setting('application_name'),
       current_setting('lock_timeout'), current_setting('transaction_isolation')
"""


@pytest.fixture(scope="module")
async def ports(endpoints: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    """Start a PgBouncer for each mode, and provide its port."""
    directory = tmp_path_factory.mktemp("poolers")
    async with AsyncExitStack() as stack:
        started = [
            await stack.enter_async_context(own_pgbouncer(directory, endpoints.environment, one)) for one in MODES
        ]
        yield {mode: environment["POSTGRES_PORT"] for mode, environment in zip(MODES, started, strict=True)}


def states(snapshot: Any) -> list[str]:
    return [worker["state"] for worker in snapshot["workers"]]


def through(settings: Settings, port: str) -> Settings:
    return attrs.evolve(settings, postgres_host="127.0.0.1", postgres_port=int(port))


@POOLING
async def test_orders_pass_from_the_topic_to_a_lookup(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, ports: dict[str, str], mode: str
) -> None:
    """Stored once, also when they come again, and every command works."""
    port = ports[mode]
    orders = [order for order, _ in zip(OrderGenerator(seed=5), range(60), strict=False)]
    messages = [(order["order_uid"].encode(), json.encode(order)) for order in orders]
    await send(settings, *messages, *messages[:20], (b"bad", b"{}"))
    engine = await orderflow.start("engine", "--workers", "2", POSTGRES_PORT=port)
    server = await orderflow.start("serve", POSTGRES_PORT=port)
    await consumed(database, 81)
    assert await database.fetchval("SELECT count(*) FROM orders") == 60
    listening = await server.wait_for("http_listening")
    async with ClientSession(listening["url"]) as client:
        async with client.get(f"/order/{orders[0]['order_uid']}") as answer:
            assert answer.status == 200

        async def ask(path: str) -> Any:
            async with client.get(path) as answer:
                return await answer.json()

        await eventually(lambda: ask("/healthz"), lambda found: found["status"] == "ok")
        await eventually(lambda: ask("/operations/snapshot"), lambda found: states(found) == ["idle", "idle"])
    findings = await orderflow.run("doctor", "--json", POSTGRES_PORT=port)
    [pooler] = [finding for finding in json.decode(findings.stdout) if finding["check"] == "PostgreSQL pooler"]
    assert (findings.returncode, pooler["outcome"]) == (0, "ok")
    assert f"pool_mode {mode}" in pooler["message"]
    if mode == "transaction":
        commands = ("offsets show", "dlq list", "lag", f"trace {orders[0]['order_uid']}", "prune", "brake status")
        ends = await asyncio.gather(*(orderflow.run(*command.split(), POSTGRES_PORT=port) for command in commands))
        assert [ended.returncode for ended in ends] == [0] * len(commands), [ended.stderr for ended in ends]
    assert not engine.seen("outage_started")
    assert await engine.stop(timeout_s=40) == 0


@POOLING
async def test_the_schema_is_made(orderflow: Programs, endpoints: Endpoints, ports: dict[str, str], mode: str) -> None:
    """With the database, which is missing."""
    name = unique("made")
    try:
        ended = await orderflow.run("migrate", timeout_s=60, POSTGRES_PORT=ports[mode], POSTGRES_DATABASE=name)
        assert ended.returncode == 0, ended.stderr
        assert latest_version() in ended.stderr
    finally:
        maintenance = await connect_directly(endpoints.environment)
        await maintenance.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await maintenance.close()


async def test_a_pooler_of_statements_is_refused_by_name(orderflow: Programs, ports: dict[str, str]) -> None:
    """Exit 3, whatever is started, and what to change."""
    commands = ("engine", "serve", "migrate", "offsets show")
    run = [orderflow.run(*command.split(), POSTGRES_PORT=ports["statement"]) for command in commands]
    for ended in await asyncio.gather(*run):
        assert ended.returncode == 3
        assert "set its pool_mode to transaction or session" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("changes", "variable"),
    [({"POSTGRES_PASSWORD": "not-the-secret-1234"}, "POSTGRES_PASSWORD"), ({"POSTGRES_DATABASE": "x"}, "_DATABASE")],
)
async def test_a_login_that_the_pooler_refuses_is_no_outage(
    orderflow: Programs, ports: dict[str, str], changes: dict[str, str], variable: str
) -> None:
    """Exit 3 at once, as without a pooler."""
    ended = await orderflow.run("engine", POSTGRES_PORT=ports["transaction"], **changes)
    assert ended.returncode == 3
    assert variable in ended.stderr.splitlines()[-1]


@POOLING
async def test_a_session_has_our_settings_in_each_transaction_and_no_longer(
    settings: Settings, ports: dict[str, str], mode: str
) -> None:
    """The sessions are shared with other programs."""
    options = session_of(postgres_options(through(settings, ports[mode])), "worker-0", "it's a \\group")
    options = finding_by_key(options)
    connection = await connect(**options)
    try:
        ours = ["off", "-1", "orderflow worker-0 of it's a \\group", "0", "read committed"]
        assert list(await connection.fetchrow(_MADE)) == ours
        async with connection.transaction():
            assert list(await connection.fetchrow(_MADE)) == ours
            await as_pooled(connection).ask_for_pid()
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            assert connection.get_server_pid() == pid
            assert await connection.fetchval("SELECT ARRAY[now()]")  # a type that asyncpg asks for
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.fetchval("SELECT 1 / 0")
        assert await connection.fetchval("SELECT 42") == 42
    finally:
        await connection.close()
    plain = postgres_options(through(settings, ports[mode]))
    other = await asyncpg.connect(**{**plain, "server_settings": {}}, statement_cache_size=0)
    try:
        assert [*await other.fetchrow(_MADE)][:2] == ["on", "100000"]
        assert await other.fetchval("SELECT current_setting('jit')") == "on"
    finally:
        await other.close()


@POOLING
async def test_the_session_of_a_frozen_worker_is_ended_and_no_other(
    settings: Settings, database: asyncpg.Connection, ports: dict[str, str], mode: str
) -> None:
    """In the middle of a COPY, while it holds an offset's row: by the pid that the transaction has in PostgreSQL."""
    options = session_of(postgres_options(through(settings, ports[mode])), "worker-0", "group")
    zombie, bystander = await connect(**options), await connect(**options)
    for connection in (zombie, bystander):
        await as_pooled(connection).ask_for_pid()
    heir, spare = Link(options), Link(options)
    begun = asyncio.Event()

    async def never() -> AsyncIterator[bytes]:
        begun.set()
        yield b"PGCOPY\n\xff\r\n\x00" + bytes(8)
        await asyncio.Event().wait()

    async with bystander.transaction():
        await zombie.execute("BEGIN")
        await open_offset_in(zombie)
        pids = {zombie.get_server_pid(), bystander.get_server_pid()}
        copying = asyncio.create_task(zombie.copy_to_table("orders", source=never(), format="binary"))
        await begun.wait()
        waits = "SELECT wait_event FROM pg_stat_activity WHERE pid = $1"
        await eventually(lambda: database.fetchval(waits, zombie.get_server_pid()), "ClientRead".__eq__)
        async with asyncio.timeout(15), heir.use() as connection, BlockerWatch(spare, 0.2).guard(connection):
            stored = await open_offset(connection, "group", "topic", 0, 0)
        assert stored.next_offset == 0
        left = "SELECT array_agg(pid) FROM pg_stat_activity WHERE pid = ANY($1)"
        assert await database.fetchval(left, list(pids)) == [bystander.get_server_pid()]
        assert await bystander.fetchval("SELECT 42") == 42
    copying.cancel()
    await asyncio.wait({copying})
    for connection in (zombie, bystander):
        connection.terminate()
    await heir.close()
    await spare.close()


async def test_a_lookup_that_is_cancelled_leaves_a_pool_that_works(settings: Settings, ports: dict[str, str]) -> None:
    """The caller sees its own time-out, and the next one gets an answer."""
    pool = await asyncpg.create_pool(
        connect=connect, **postgres_options(through(settings, ports["transaction"])), min_size=0, max_size=1
    )
    async with asyncio.timeout(15):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), connection_of(pool, 5) as connection:
                await connection.fetchval("SELECT pg_sleep(30)")
        with pytest.raises(StoresUnavailable):
            await StoreReader("test", pool, deadline_s=5).read(
                lambda connection: connection.fetchval("SELECT pg_sleep(30)", timeout=0.5)
            )
        async with connection_of(pool, 5) as connection:
            assert await connection.fetchval("SELECT 42") == 42
    pool.terminate()


async def open_offset_in(connection: asyncpg.Connection) -> None:
    """Lock the offset's row in the open transaction, as a worker's batch does."""
    await connection.execute(
        "INSERT INTO consumed_offsets (consumer_group, topic, partition, next_offset) VALUES ('group', 'topic', 0, 0)"
    )
