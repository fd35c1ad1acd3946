"""Our sessions are the same on every server, and whatever settings the owner has given to the role."""

from pathlib import Path

import asyncpg
from aiohttp import ClientSession
from msgspec import json

from engine.postgres.connecting import connect
from engine.postgres.session import finding_by_key
from orderflow.doctor.durability_checks import check_durability
from orderflow.doctor.finding import Outcome
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.connections import postgres_options
from orderflow.start.settings import Settings, parse_settings
from tests.support.eventually import consumed
from tests.support.postgresql_servers import own_postgresql, require_debian_programs
from tests.support.programs import Programs
from tests.support.topic import send

ORDERS = 40
OF_THE_ROLE = {
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "synchronous_commit": "off",
    "DateStyle": "German",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Tokyo",
    "bytea_output": "escape",
    "row_security": "off",
}
_PLAN = "EXPLAIN (ANALYZE) SELECT count(*) FROM without_index"


async def test_orders_are_stored_whatever_the_settings_of_the_role_are(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Each of its limits would end a batch; doctor warns of the one that the owner may have meant for us too."""
    wanted = dict(OF_THE_ROLE)
    if database.get_server_version().major >= 17:
        wanted["transaction_timeout"] = "2ms"
    scope = f'ROLE "{settings.postgres_user}" IN DATABASE "{settings.postgres_database}"'
    for name, value in wanted.items():
        await database.execute(f"ALTER {scope} SET {name} = '{value}'")
    orders = [order for order, _ in zip(OrderGenerator(seed=6), range(ORDERS), strict=False)]
    messages = [(order["order_uid"].encode(), json.encode(order)) for order in orders]
    await send(settings, *messages, *messages, (b"bad", b"{}"))
    engine, server = await orderflow.start("engine", "--workers", "1"), await orderflow.start("serve")
    await consumed(database, 2 * ORDERS + 1)
    assert await database.fetchval("SELECT count(*) FROM orders") == ORDERS
    listening = await server.wait_for("http_listening")
    async with ClientSession(listening["url"]) as client, client.get(f"/order/{orders[0]['order_uid']}") as answer:
        assert answer.status == 200
    ended = await orderflow.run("doctor", "--json")
    [finding] = [one for one in json.decode(ended.stdout) if one["outcome"] != "ok"]
    assert (ended.returncode, finding["check"], finding["outcome"]) == (0, "PostgreSQL durability", "warning")
    assert "synchronous_commit is off (set by: database user)" in finding["message"]
    assert finding["message"].endswith(f"ALTER {scope.replace(chr(34), '')} RESET synchronous_commit")
    assert not engine.seen("outage_started")
    assert await engine.stop(timeout_s=40) == 0


async def test_no_query_is_compiled_because_it_must_use_indexes(tmp_path: Path) -> None:
    """JIT takes a hundred times longer than the query itself. Doctor also warns of this server's own settings."""
    lines = ("fsync = off", "full_page_writes = off")
    async with own_postgresql(tmp_path, *lines, programs=require_debian_programs()) as server:
        options = finding_by_key(postgres_options(parse_settings(server.environment)))
        session = await connect(**options)
        try:
            assert await session.fetchval("SHOW enable_seqscan") == "off"
            await session.execute("CREATE TABLE without_index AS SELECT 1 AS column")
            assert not compiled(await session.fetch(_PLAN))
            risks = await check_durability(session)
            assert (risks.outcome, risks.message.count("may destroy the database")) == (Outcome.WARNING, 2)
            await session.execute("SET jit = on")
            assert compiled(await session.fetch(_PLAN)), "this server has no JIT"
        finally:
            await session.close()


def compiled(plan: list[asyncpg.Record]) -> bool:
    return any(line[0].startswith("JIT") for line in plan)
