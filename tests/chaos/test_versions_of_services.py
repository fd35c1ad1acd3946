"""The versions of PostgreSQL, Redis and Kafka that docs/compatibility.md lists, each with the whole way of an order."""

import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

from orderflow.services import free_ports
from orderflow.services.kafka import Kafka
from orderflow.services.valkey import Valkey
from orderflow.start.project import cache_directory
from orderflow.start.settings import parse_settings
from tests.support import postgresql_with_openssl
from tests.support.eventually import consumed
from tests.support.isolation import connect, own_topics
from tests.support.postgresql_servers import own_postgresql, programs_of_the_wheel, require_debian_programs
from tests.support.programs import Programs

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
ORDERS, INVALID = 1500, "0.05"


class Redis(Valkey):
    """Debian's Redis server."""

    def command(self) -> list[str]:
        """Return the server's command line."""
        program = shutil.which("redis-server")
        assert program is not None
        return [program, *super().command()[1:]]


async def _postgresql(version: str, folder: Path, stack: AsyncExitStack) -> Mapping[str, str]:
    if version == "Debian":
        programs = require_debian_programs()
    elif version == "17":
        if postgresql_with_openssl.package() is None:
            pytest.skip("left out: there is no build of PostgreSQL 17 for this machine")
        programs = await postgresql_with_openssl.programs("17.5.0")
    else:
        programs = programs_of_the_wheel(int(version))
    server = await stack.enter_async_context(own_postgresql(folder, programs=programs))
    return server.environment


async def _redis(version: str, folder: Path, stack: AsyncExitStack) -> Mapping[str, str]:
    if version == "Debian" and shutil.which("redis-server") is None:
        pytest.skip("left out: this needs Debian's Redis (apt-get install redis-server)")
    environment = {"REDIS_ADDR": f"127.0.0.1:{free_ports(1)[0]}", "REDIS_DB": "0"}
    service = (Redis if version == "Debian" else Valkey)(folder / "redis", parse_settings(environment))
    stack.push_async_callback(service.stop)
    await service.start()
    return environment


async def _kafka(version: str, folder: Path, stack: AsyncExitStack) -> Mapping[str, str]:
    environment = {"KAFKA_BROKERS": f"127.0.0.1:{free_ports(1)[0]}"}
    service = Kafka(folder / "kafka", parse_settings(environment), cache_directory(), version=version)
    stack.push_async_callback(service.stop)
    await service.start()
    return {**environment, **await stack.enter_async_context(own_topics(environment))}


SERVICES = {"postgresql": _postgresql, "redis": _redis, "kafka": _kafka}


@asynccontextmanager
async def another(service: str, version: str, folder: Path) -> AsyncIterator[Mapping[str, str]]:
    """Start this version of the service, and provide the settings that name it."""
    async with AsyncExitStack() as stack:
        yield await SERVICES[service](version, folder, stack)


@pytest.mark.parametrize(
    ("service", "version"),
    [
        ("postgresql", "Debian"),
        ("postgresql", "16"),
        ("postgresql", "17"),
        ("postgresql", "18"),
        ("redis", "Debian"),
        ("redis", "Valkey"),
        ("kafka", "3.9.2"),
        ("kafka", "4.1.0"),
        ("kafka", "4.4.0"),
    ],
)
async def test_orders_go_the_whole_way(service: str, version: str, orderflow: Programs, tmp_path: Path) -> None:
    """They are stored once each though a worker is killed, looked up, and told of; the doctor finds nothing wrong."""
    async with another(service, version, tmp_path) as changed:
        orderflow.environment = environment = {**orderflow.environment, **changed}
        assert (await orderflow.run("migrate", timeout_s=60)).returncode == 0
        engine = await orderflow.start("engine", "--workers", "2")
        server = await orderflow.start("serve")
        await server.wait_for("http_listening")
        await engine.wait_for("partition_opened", count=4, timeout_s=40)
        published = await orderflow.run("publish", str(ORDERS), "--invalid", INVALID, "--repeat", "0.1", timeout_s=60)
        assert published.returncode == 0, published.stderr
        engine.children[0].send_signal(signal.SIGKILL)
        more = await orderflow.run("publish", str(ORDERS), "--seed", "2", timeout_s=60)
        assert more.returncode == 0, more.stderr
        database = await connect(environment)
        try:
            await consumed(database, 2 * ORDERS)
            uids = set(more.lines[1:-1])
            stored = await database.fetchval("SELECT count(*) FROM orders WHERE order_uid = ANY($1)", list(uids))
            assert stored == len(uids)
            assert await database.fetchval("SELECT count(*) FROM dead_letters") > 0
        finally:
            await database.close()
        uid = min(uids)
        async with ClientSession(f"http://{environment['HTTP_ADDR']}") as client:
            for expected in ("hit", "hit"):
                async with client.get(f"/order/{uid}") as answer:
                    assert (answer.status, answer.headers["X-Cache"]) == (200, expected)
        traced = await orderflow.run("trace", uid)
        assert traced.returncode == 0, traced.stderr
        doctor = await orderflow.run("doctor", timeout_s=60)
        assert doctor.returncode == 0, doctor.stdout
        assert await engine.stop(timeout_s=40) == 0
