"""POSTGRES_HOST as a list of hosts and as the folder of a socket: the engine, the server and all commands use it."""

import asyncio
import json
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import attrs
import pytest
from lookup.serving.options import Connections
from lookup.serving.pools import open_pool
from redis.asyncio import Redis

from engine.postgres.connecting import NoWritableHost, connect
from orderflow.start.connections import postgres_options
from orderflow.start.settings import parse_settings
from tests.support.eventually import eventually
from tests.support.isolation import connect as connect_to
from tests.support.postgresql_servers import own_postgresql
from tests.support.programs import Programs
from tests.support.tcp_proxy import tcp_proxy

WRITABLE, READ_ONLY, SILENT, DOWN = "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"
LIST = f"{DOWN},{SILENT},{READ_ONLY},{WRITABLE}"
UNUSED: Any = {"redis": Redis, "kafka": {}, "kafka_topic": "", "kafka_group": ""}
SOON_S = 4.0
"""Less than the time-out of one connection: the silent host must not use it up."""


@attrs.frozen
class Cluster:
    """Four hosts with one port, and the folder of the socket of the one that accepts writes."""

    environment: dict[str, str]
    folder: Path
    read_only: dict[str, str]


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """Start a server and a read-only one; a third host accepts connections and is silent, a fourth refuses them."""
    with tempfile.TemporaryDirectory(prefix="hosts-") as directory, socket.socket() as silent:
        folder = Path(directory) / "a socket"
        folder.mkdir()
        for path in (folder, folder.parent):
            path.chmod(0o777)
        async with (
            own_postgresql(Path(directory) / "first", f"unix_socket_directories = '\"{folder}\"'") as writable,
            own_postgresql(Path(directory) / "second") as read_only,
        ):
            connection = await connect_to(dict(read_only.environment))
            await connection.execute("ALTER DATABASE order_service SET default_transaction_read_only = on")
            await connection.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
            await connection.close()
            port = int(writable.environment["POSTGRES_PORT"])
            silent.bind((SILENT, port))
            silent.listen()
            async with tcp_proxy(WRITABLE, int(read_only.environment["POSTGRES_PORT"]), port, own_host=READ_ONLY):
                yield Cluster(dict(writable.environment), folder, dict(read_only.environment))


async def test_migrate_the_engine_and_commands_use_the_host_that_accepts_writes(
    cluster: Cluster, orderflow: Programs
) -> None:
    """Migrate creates the missing database there, the engine stores there; by the list, and by the socket's folder."""
    place = {
        **cluster.environment,
        "POSTGRES_USER": parse_settings({}).postgres_user,
        "POSTGRES_PASSWORD": parse_settings({}).postgres_password,
        "POSTGRES_DATABASE": "missing",
    }
    by_list, by_socket = ({**place, "POSTGRES_HOST": hosts} for hosts in (LIST, str(cluster.folder)))
    for environment in (by_list, by_socket):
        migrated = await orderflow.run("migrate", **environment)
        assert migrated.returncode == 0, migrated.stderr
    elsewhere = await connect_to(cluster.read_only)
    assert await elsewhere.fetchval("SELECT count(*) FROM pg_database WHERE datname = 'missing'") == 0
    await elsewhere.close()

    engine = await orderflow.start("engine", "--workers", "1", **by_list)
    assert (await orderflow.run("publish", "3", **by_list)).returncode == 0
    stored = await connect_to(place)
    await eventually(lambda: stored.fetchval("SELECT count(*) FROM orders"), lambda found: found == 3)
    await stored.close()
    lag = await orderflow.run("offsets", "show", "--json", **by_socket)
    assert lag.returncode == 0, lag.stderr
    assert sum(row["next_offset"] for row in json.loads(lag.stdout)) == 3
    assert await engine.stop() == 0


async def test_neither_a_silent_host_nor_one_that_is_down_delays_a_connection_for_long(cluster: Cluster) -> None:
    """Also in a pool; without a host that accepts writes it is an outage that says so."""
    settings = parse_settings({**cluster.environment, "POSTGRES_HOST": LIST})
    async with asyncio.timeout(SOON_S):
        connection = await connect(**postgres_options(settings))
    assert connection.get_settings().default_transaction_read_only == "off"
    connection.terminate()
    pool = await open_pool(Connections(postgres=postgres_options(settings), **UNUSED), 2, 1.0)
    async with asyncio.timeout(SOON_S):
        assert await pool.fetchval("SHOW default_transaction_read_only") == "off"
    pool.terminate()

    left = parse_settings({**cluster.environment, "POSTGRES_HOST": f"{DOWN},{READ_ONLY}"})
    with pytest.raises(NoWritableHost):
        await connect(**postgres_options(left))


async def test_what_waiting_cannot_mend_is_told_though_a_host_is_down(cluster: Cluster) -> None:
    """A wrong password on the host that answers."""
    settings = parse_settings({**cluster.environment, "POSTGRES_HOST": f"{WRITABLE},{DOWN}", "POSTGRES_PASSWORD": " "})
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connect(**postgres_options(settings))


async def test_whoever_starts_without_a_host_that_accepts_writes_is_told_so(
    cluster: Cluster, orderflow: Programs
) -> None:
    """Not that nothing answers: one host does."""
    hosts = {**cluster.environment, "POSTGRES_HOST": f"{DOWN},{READ_ONLY}", "START_TIMEOUT_S": "0.5"}
    engine, migrate, doctor = await asyncio.gather(
        *(orderflow.run(command, **hosts) for command in ("engine", "migrate", "doctor"))
    )
    for ended in (engine, migrate):
        assert (ended.returncode, "accepts no writes" in ended.stderr.splitlines()[-1]) == (1, True), ended.stderr
    assert "no host accepts writes" in doctor.stdout
