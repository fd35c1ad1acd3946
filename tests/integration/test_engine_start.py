"""What keeps the engine from starting: one clear line, and the documented exit code."""

import asyncio
import signal

import asyncpg
import pytest

from orderflow.services import free_ports
from tests.support.programs import Programs


async def test_an_older_schema_is_refused(orderflow: Programs, database: asyncpg.Connection) -> None:
    """Exit 3, and the command that mends it."""
    await database.execute("DELETE FROM schema_migrations WHERE version = (SELECT max(version) FROM schema_migrations)")
    ended = await orderflow.run("engine")
    assert ended.returncode == 3
    assert "orderflow migrate" in ended.stderr.splitlines()[-1]


async def test_a_missing_schema_is_refused(orderflow: Programs, database: asyncpg.Connection) -> None:
    """Exit 3, and the command that mends it."""
    await database.execute("DROP TABLE schema_migrations")
    ended = await orderflow.run("engine")
    assert ended.returncode == 3
    assert "orderflow migrate" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("variable", ["KAFKA_TOPIC", "KAFKA_DLQ_TOPIC"])
async def test_a_missing_topic_is_refused_and_not_created(orderflow: Programs, variable: str) -> None:
    """Exit 3, the topic's name, and the command that creates it; the second start finds it still missing."""
    for _ in range(2):
        ended = await orderflow.run("engine", **{variable: "no-such-topic"})
        assert ended.returncode == 3
        [line] = ended.stderr.splitlines()
        assert "'no-such-topic'" in line
        assert "orderflow topics create" in line


@pytest.mark.parametrize(("variable", "form"), [("POSTGRES_PORT", "{}"), ("KAFKA_BROKERS", "127.0.0.1:{}")])
async def test_a_service_that_stays_down_ends_the_start(orderflow: Programs, variable: str, form: str) -> None:
    """Exit 1 after START_TIMEOUT_S, and the variable that says where the service should be."""
    place = form.format(free_ports(1)[0])
    ended = await orderflow.run("engine", **{variable: place, "START_TIMEOUT_S": "1"})
    assert ended.returncode == 1
    assert variable in ended.stderr.splitlines()[-1]


async def test_a_wrong_password_is_refused_and_not_shown(orderflow: Programs) -> None:
    """Exit 3; the line names the variable and never the password."""
    ended = await orderflow.run("engine", POSTGRES_PASSWORD="not-the-secret-1234")
    assert ended.returncode == 3
    assert "POSTGRES_PASSWORD" in ended.stderr.splitlines()[-1]
    assert "not-the-secret-1234" not in ended.stderr


async def test_a_wrong_redis_password_is_refused_and_not_shown(orderflow: Programs) -> None:
    """Exit 3; the line names the variable and never the password."""
    ended = await orderflow.run("engine", REDIS_USERNAME="nobody", REDIS_PASSWORD="not-the-secret-1234")
    assert ended.returncode == 3
    assert "REDIS_PASSWORD" in ended.stderr.splitlines()[-1]
    assert "not-the-secret-1234" not in ended.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [("BATCH_MAX_ORDERS", "many"), ("KAFKA_BROKERS", "nowhere"), ("LOG_LEVEL", "loud"), ("HTTP_ADDR", "99999")],
)
async def test_a_bad_setting_is_refused(orderflow: Programs, variable: str, value: str) -> None:
    """Exit 3, and one line that names the variable and what is allowed."""
    ended = await orderflow.run("engine", **{variable: value})
    assert ended.returncode == 3
    [line] = ended.stderr.splitlines()
    assert variable in line
    assert "must be" in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_while_a_service_is_awaited_is_clean(orderflow: Programs, number: int) -> None:
    """Nothing is in flight yet: exit 0, at once, and not the death by a signal that looks like a crash."""
    asked = asyncio.Event()

    async def say_nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        asked.set()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        engine = await orderflow.start("engine", POSTGRES_PORT=str(port))
        async with asyncio.timeout(30):
            await asked.wait()
        assert await engine.stop(number) == 0
