"""The embedded services, a set of their own for this module: they are started, broken and stopped here."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil
import pytest

from orderflow.exits import CannotStart, Failed
from orderflow.services import ServiceSet, free_ports, port_in_use
from orderflow.services.account import Account, check_owner
from orderflow.services.process import fingerprint, process_tree
from orderflow.start.brokers import list_topics, wait_for_topic
from orderflow.start.connections import redis_client
from orderflow.start.settings import parse_settings
from tests.support.endpoints import service_set
from tests.support.isolation import connect, create_topics


@pytest.fixture(scope="module")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[ServiceSet, dict[str, str]]]:
    """Services that only this module uses, and the settings that lead to them."""
    services, environment = service_set(tmp_path_factory.mktemp("own"))
    await services.up()
    yield services, environment
    await services.down()


Own = tuple[ServiceSet, dict[str, str]]


def _pids(services: ServiceSet) -> list[int | None]:
    return [service.pid for service in services.services]


async def test_up_is_idempotent_and_quick_the_second_time(own: Own) -> None:
    """A second `up` starts nothing, changes no process and takes less than two seconds."""
    services, _ = own
    before = _pids(services)
    began = time.monotonic()
    assert await services.up() == []
    assert time.monotonic() - began < 2
    assert _pids(services) == before
    assert None not in before


async def test_status_tells_addresses_and_processes(own: Own) -> None:
    """Each service is listed with where it listens and its pid."""
    services, environment = own
    rows = {row.service: row for row in services.status()}
    assert rows["postgresql"].address == f"127.0.0.1:{environment['POSTGRES_PORT']}"
    assert rows["valkey"].address == environment["REDIS_ADDR"]
    assert rows["kafka"].address == environment["KAFKA_BROKERS"]
    assert all(row.running and row.pid for row in rows.values())


async def test_every_service_is_out_of_reach_of_the_terminal(own: Own) -> None:
    """Each is in a session of its own: Ctrl-C reaches the foreground program alone."""
    services, _ = own
    for service in services.services:
        assert service.pid is not None
        assert os.getsid(service.pid) == service.pid != os.getsid(0)


async def test_services_listen_on_the_loopback_only(own: Own) -> None:
    """No port is open to other machines."""
    services, _ = own
    for service in services.services:
        assert service.pid is not None
        listening = []
        for process in process_tree(service.pid):
            with suppress(psutil.NoSuchProcess):  # PostgreSQL ends processes of its own at any time
                listening += [c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert listening
        assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


async def test_postgresql_is_durable_utf8_and_asks_for_the_password(own: Own) -> None:
    """Fsync and synchronous_commit are on, the encoding is UTF-8, the locale is C, and a wrong password is refused."""
    _, environment = own
    connection = await connect(environment)
    try:
        values = {
            name: await connection.fetchval(f"SHOW {name}")
            for name in ("fsync", "synchronous_commit", "server_encoding")
        }
        collate = await connection.fetchval("SELECT datcollate FROM pg_database WHERE datname = current_database()")
    finally:
        await connection.close()
    assert values == {"fsync": "on", "synchronous_commit": "on", "server_encoding": "UTF8"}
    assert collate == "C"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connect({**environment, "POSTGRES_PASSWORD": "wrong"})


async def test_kafka_creates_no_topic_by_accident(own: Own) -> None:
    """Asking for a topic's metadata does not create the topic."""
    _, environment = own
    settings = parse_settings({**environment, "KAFKA_TOPIC": "never-created"})
    with pytest.raises(CannotStart, match="orderflow topics create"):
        await wait_for_topic(settings, "never-created")
    assert "never-created" not in await list_topics(settings)


@pytest.mark.long
async def test_data_survives_down_and_up(own: Own) -> None:
    """After a stop nothing runs; after the next start everything that was stored is there."""
    services, environment = own
    settings = parse_settings(environment)
    connection = await connect(environment)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await connection.close()
    await create_topics(settings, {"kept": 2})
    async with redis_client(settings) as redis:
        await redis.set("kept", "42")
    processes = [process for pid in _pids(services) if pid for process in process_tree(pid)]

    assert len(await services.down()) == 3
    assert [process for process in processes if fingerprint(process.pid)] == []
    assert _pids(services) == [None, None, None]
    assert list((services.directory / "run").iterdir()) == []

    assert len(await services.up()) == 3
    connection = await connect(environment)
    assert await connection.fetchval("SELECT answer FROM kept") == 42
    await connection.close()
    assert "kept" in await list_topics(settings)
    async with redis_client(settings) as redis:
        assert await redis.get("kept") == b"42"


async def test_down_twice_is_no_error(tmp_path: Path) -> None:
    """Stopping what never ran stops nothing and says so."""
    services, _ = service_set(tmp_path)
    assert await services.down() == []


@pytest.mark.parametrize("index", [0, 1, 2])
async def test_a_taken_port_is_named_with_its_variable(tmp_path: Path, index: int) -> None:
    """A port that somebody else holds stops `up` before anything is started, with one line that says what to change."""
    services, _ = service_set(tmp_path)
    service = services.services[index]
    with socket.create_server(("127.0.0.1", service.port)), pytest.raises(CannotStart) as caught:
        await services.up()
    message = str(caught.value)
    assert f"port {service.port} for {service.title}" in message
    assert f"set {service.variable} to a free port" in message
    assert _pids(services) == [None, None, None]


async def test_a_port_that_a_client_happens_to_use_is_waited_for(tmp_path: Path) -> None:
    """The local end of somebody's outgoing connection is no server: `up` waits until it is gone."""
    services, _ = service_set(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname(), source_address=("127.0.0.1", services.valkey.port))
        accepted, _address = server.accept()
        assert port_in_use(services.valkey.port)
        starting = asyncio.create_task(services.valkey.start())
        await asyncio.sleep(0)
        accepted.close()  # the side that closes first is the one that lingers
        client.close()
        assert await starting
    assert await services.valkey.stop()


@pytest.mark.long
async def test_a_killed_service_is_seen_as_stopped_and_started_again(own: Own) -> None:
    """Each service can be killed and started by itself; what PostgreSQL had committed is there afterwards."""
    services, environment = own
    connection = await connect(environment)
    await connection.execute("CREATE TABLE committed AS SELECT 7 AS number")
    await connection.close()
    for service in services.services:
        await service.kill()
        assert service.pid is None
        assert not port_in_use(service.port)
        assert not service.status().running
    started = await services.up()
    assert [service.name for service in started] == ["postgresql", "valkey", "kafka"]
    connection = await connect(environment)
    assert await connection.fetchval("SELECT number FROM committed") == 7
    await connection.close()


async def test_a_frozen_service_does_not_answer_until_it_is_thawed(own: Own) -> None:
    """`freeze` stops the process in its tracks, `thaw` continues it; `down` would work on a frozen one too."""
    services, _ = own
    services.valkey.freeze()
    assert not await services.valkey.answers()
    services.valkey.thaw()
    assert await services.valkey.answers()
    services.valkey.freeze()
    assert await services.valkey.stop()
    assert await services.valkey.start()


async def test_an_immediate_shutdown_is_recovered_from(own: Own) -> None:
    """PostgreSQL stopped without a checkpoint starts again."""
    services, _ = own
    assert await services.postgresql.stop_immediately()
    assert await services.postgresql.start()


async def test_a_pid_file_of_another_process_is_never_believed(own: Own) -> None:
    """After a crash of the machine the pid may be somebody else's: that process is neither counted nor killed."""
    services, _ = own
    pid_file = services.valkey.process.pid_file
    kept = pid_file.read_bytes()
    pid_file.write_text(f'{{"pid":{os.getpid()},"fingerprint":"another boot 1","port":{services.valkey.port}}}')
    assert services.valkey.pid is None
    assert not await services.valkey.stop()
    assert not pid_file.exists()
    pid_file.write_text("not a pid file")
    assert services.valkey.pid is None
    pid_file.write_bytes(kept)
    assert services.valkey.pid is not None


async def test_a_stale_postmaster_lock_of_a_stranger_does_not_stop_the_start(own: Own) -> None:
    """PostgreSQL's own lock file may name a pid that now belongs to another program."""
    services, _ = own
    await services.postgresql.kill()
    lock = services.postgresql.data / "postmaster.pid"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert await services.postgresql.start()


async def test_a_service_that_dies_at_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    """The last lines of the log are shown as progress, the error names the log, and nothing is left running."""
    said: list[str] = []
    _, environment = service_set(tmp_path)
    broken = ServiceSet(tmp_path, parse_settings(environment), say=said.append)
    broken.valkey.directory.mkdir()
    (broken.valkey.directory / "dump.rdb").write_bytes(b"no snapshot at all")
    with pytest.raises(Failed, match=r"Valkey stopped while it started: see the last lines of .*valkey\.log"):
        await broken.valkey.start()
    assert any("Wrong signature" in line for line in said)
    assert broken.valkey.pid is None


def test_data_of_another_user_are_named_with_the_owner(tmp_path: Path) -> None:
    """PostgreSQL runs on nobody else's data: the message says whose they are, and what to run."""
    check_owner(tmp_path, Account())
    other = os.geteuid() + 54321
    with pytest.raises(CannotStart, match=rf"belongs to the user .*, .* would run as {other}: .*chown -R {other} "):
        check_owner(tmp_path, Account(user=other, group=other))


@pytest.mark.long
async def test_kafka_runs_in_a_folder_of_any_name(tmp_path: Path) -> None:
    """Letters of any script, spaces and a backslash: its data is in that folder, and nowhere else."""
    services, _ = service_set(tmp_path / "Заказы é \\u0041 🛒")
    try:
        assert await services.kafka.start()
        assert (services.kafka.data / "meta.properties").is_file()
    finally:
        await services.kafka.stop()
    assert os.listdir(tmp_path) == ["Заказы é \\u0041 🛒"]


async def test_another_password_is_refused_clearly(own: Own) -> None:
    """A cluster that was created with another password is not started over, and the password is not shown."""
    services, environment = own
    settings = parse_settings({**environment, "POSTGRES_PASSWORD": "swordfish"})
    with pytest.raises(CannotStart, match="another POSTGRES_USER or POSTGRES_PASSWORD") as caught:
        await ServiceSet(services.directory, settings).up()
    assert "swordfish" not in str(caught.value)


async def test_another_port_is_refused_while_it_runs(own: Own) -> None:
    """A running service keeps its port: the message says how to have it on another."""
    services, environment = own
    settings = parse_settings({**environment, "POSTGRES_PORT": str(free_ports(1)[0])})
    with pytest.raises(CannotStart, match=rf"already runs on port {environment['POSTGRES_PORT']}"):
        await ServiceSet(services.directory, settings).up()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POSTGRES_HOST", "db.example"),
        ("REDIS_ADDR", "cache.example:6379"),
        ("KAFKA_BROKERS", "127.0.0.1:9092,127.0.0.1:9093"),
        ("POSTGRES_SSL_MODE", "require"),
        ("REDIS_TLS", "true"),
        ("KAFKA_SECURITY_PROTOCOL", "SSL"),
    ],
)
def test_services_elsewhere_are_not_embedded(tmp_path: Path, name: str, value: str) -> None:
    """Settings that name another machine, or encryption, are refused by name."""
    with pytest.raises(CannotStart, match=f"^{name} is "):
        ServiceSet(tmp_path, parse_settings({name: value}))


async def test_signals_of_a_stopped_service_go_nowhere(tmp_path: Path) -> None:
    """Freezing, killing and stopping what does not run changes nothing."""
    services, _ = service_set(tmp_path)
    services.kafka.freeze()
    services.kafka.process.signal(signal.SIGTERM)
    await services.kafka.kill()
    assert not await services.kafka.stop()
