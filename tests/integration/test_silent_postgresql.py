"""A machine with PostgreSQL that falls silent: work on a connection to it ends, long before its deadline."""

import asyncio
from pathlib import Path

import pytest

from engine.postgres.connecting import connect
from engine.postgres.errors import ERRORS
from engine.postgres.silence import INTERVAL_S, SILENT_S
from orderflow.start.connections import postgres_options
from orderflow.start.settings import parse_settings
from tests.support.hosts import host_network, require_hosts
from tests.support.postgresql_servers import own_postgresql

MARGIN_S = 3.0


@pytest.mark.long
async def test_work_ends_when_the_machine_of_the_server_falls_silent(tmp_path: Path) -> None:
    """Both that which waits for an answer, and that whose question has not arrived any more."""
    require_hosts()
    clock = asyncio.get_running_loop().time
    with host_network(tmp_path, ["postgresql"]) as network:
        host = network["postgresql"]
        async with own_postgresql(tmp_path / "server", on=host) as server:
            options = postgres_options(parse_settings(server.environment))
            asks, is_asked = [await connect(**options) for _ in range(2)]
            answer = asyncio.create_task(is_asked.execute("SELECT pg_sleep(300)"), name="waits for an answer")
            while not await asks.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
                await asyncio.sleep(0.05)
            network.cut(host)
            cut_s = clock()
            question = asyncio.create_task(asks.execute("SELECT 1"), name="asks in vain")
            ended, _ = await asyncio.wait({answer, question}, timeout=SILENT_S + INTERVAL_S + MARGIN_S)
            assert ended == {answer, question}
            assert all(isinstance(task.exception(), ERRORS) for task in ended)
            assert SILENT_S - MARGIN_S < clock() - cut_s < SILENT_S + INTERVAL_S + MARGIN_S
            network.heal(host)
