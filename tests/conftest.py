"""Fixtures for all tests: real services, and data of each test's own in them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import hypothesis
import pytest
from redis.asyncio import Redis

from orderflow.operating.dbmate import find_dbmate, run_dbmate
from orderflow.services import ServiceSet, free_ports, ports
from orderflow.services.service import silent
from orderflow.start.connections import redis_client
from orderflow.start.migrations import migrations_directory
from orderflow.start.settings import Settings, parse_settings, variables
from tests.support import endpoints as services_of_run
from tests.support.isolation import connect, own_database, own_redis_db, own_topics, unique
from tests.support.lifeline import lifeline
from tests.support.programs import Programs, marked
from tests.support.side_by_side import share
from tests.support.unretrieved import unretrieved

pytest_plugins = ["tests.chaos.plugin"]

# How long an example takes says something of the machine, and nothing of the code.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

# The user's own services must stay untouched: no setting of theirs reaches a test or a process that a test starts.
for _name in [*variables(), *(name for name in os.environ if name.startswith(("PG", "OTEL_")))]:
    os.environ.pop(_name, None)

# A run in the background of a shell ignores Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_RUN = unique("run")
ports.share = share()


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the run when a process that a test started outlives it. None does when the run is killed."""
    with lifeline(tmp_path_factory.getbasetemp(), _RUN):
        yield
    left = [f"{process.pid}: {' '.join(process.cmdline())}" for process in marked(_RUN)]
    assert not left, f"processes were left running: {'; '.join(left)}"


@pytest.fixture(scope="session")
async def endpoints(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[services_of_run.Endpoints]:
    """Provide the services of this run: those that TEST_… variables name, else in containers, else embedded."""
    async with services_of_run.endpoints(tmp_path_factory.mktemp("services")) as found:
        yield found
    if found.embedded is not None:
        running = [status for status in found.embedded.status() if status.running]
        assert not running, f"embedded services were left running: {running}"


@pytest.fixture(scope="session")
async def template(endpoints: services_of_run.Endpoints) -> AsyncIterator[str]:
    """Provide the name of a database that dbmate has migrated once, for others to be copied from."""
    async with own_database(endpoints.environment) as name:
        settings = parse_settings({**endpoints.environment, "POSTGRES_DATABASE": name})
        await run_dbmate(await find_dbmate(silent), settings.postgres_url(), migrations_directory(), "up")
        yield name


@pytest.fixture
async def environment(endpoints: services_of_run.Endpoints, template: str) -> AsyncIterator[dict[str, str]]:
    """Provide settings, as environment variables, with a database, topics, a group and a Redis db of the test's own."""
    async with AsyncExitStack() as stack:
        database, topics, redis_db = await asyncio.gather(
            stack.enter_async_context(own_database(endpoints.environment, template)),
            stack.enter_async_context(own_topics(endpoints.environment)),
            stack.enter_async_context(own_redis_db(endpoints.environment)),
        )
        yield {
            **endpoints.environment,
            **topics,
            "POSTGRES_DATABASE": database,
            "REDIS_DB": redis_db,
            "HTTP_ADDR": f"127.0.0.1:{free_ports(1)[0]}",
            "START_TIMEOUT_S": "20",
            "KAFKA_INITIAL_RETRY_DELAY_S": "0.1",
            "KAFKA_MAX_RETRY_DELAY_S": "1",
        }


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    """Parse the test's environment."""
    return parse_settings(environment)


@pytest.fixture
async def database(environment: dict[str, str]) -> AsyncIterator[asyncpg.Connection]:
    """Provide a connection to the test's own database."""
    connection = await connect(environment)
    yield connection
    await connection.close(timeout=5)


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    """Provide a client of the test's own Redis database."""
    async with redis_client(settings) as client:
        yield client


@pytest.fixture
async def orderflow(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Programs]:
    """Provide the command `orderflow` with the test's environment. What it starts is stopped at the end of the test."""
    programs = Programs(environment, tmp_path, mark=f"{_RUN}.{unique('test')}")
    yield programs
    await programs.close()


@pytest.fixture
async def nothing_unretrieved(orderflow: Programs) -> AsyncIterator[None]:
    """Fail the test when a program of its own has lost an error: a task or a future that failed, and nobody looked."""
    yield
    lost = unretrieved(*orderflow.running)
    assert not lost, "\n".join(lost)


@pytest.fixture
async def services(endpoints: services_of_run.Endpoints) -> AsyncIterator[ServiceSet]:
    """Provide the embedded services, for a test to break; they are mended afterwards. Skips where there are none."""
    if endpoints.embedded is None:
        pytest.skip("this run's services are not processes of its own: they cannot be broken")
    yield endpoints.embedded
    for service in endpoints.embedded.services:
        service.thaw()
    await endpoints.embedded.up()
