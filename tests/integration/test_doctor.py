"""`orderflow doctor` on set-ups that are broken, each in its own way."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from msgspec import json
from redis.asyncio import Redis

from orderflow.brokers import list_topics
from orderflow.doctor.postgres_checks import examine_postgres
from orderflow.services import ServiceSet, free_ports
from orderflow.settings import Settings
from tests.support.programs import Programs

CHECKS = [
    "Settings",
    "Python",
    "HTTP address",
    "PostgreSQL",
    "PostgreSQL version",
    "PostgreSQL writes",
    "PostgreSQL permissions",
    "PostgreSQL clock",
    "Redis",
    "Redis version",
    "Redis memory",
    "Kafka",
    "Kafka's advertised addresses",
    "Topic of orders",
    "Topic of dead letters",
    "Partitions",
]


async def examined(orderflow: Programs, returncode: int, **changes: str) -> dict[str, dict[str, Any]]:
    """Run the doctor and return its findings by check."""
    ended = await orderflow.run("doctor", "--json", **changes)
    assert ended.returncode == returncode, (ended.stdout, ended.stderr)
    return {finding["check"]: finding for finding in json.decode(ended.stdout)}


async def the_failure(orderflow: Programs, **changes: str) -> tuple[str, str]:
    """Run the doctor, who must find exactly one thing wrong; return the check and the message."""
    findings = await examined(orderflow, 1, **changes)
    [failure] = [finding for finding in findings.values() if finding["outcome"] == "failed"]
    return failure["check"], failure["message"]


async def test_a_set_up_that_is_well_passes_every_check(orderflow: Programs, settings: Settings, redis: Redis) -> None:
    """Exit 0, a line a check, and nothing is changed: no topic comes into being."""
    await redis.config_resetstat()
    topics = await list_topics(settings)
    findings = await examined(orderflow, 0)
    assert list(findings) == CHECKS
    assert {finding["outcome"] for finding in findings.values()} == {"ok"}
    assert await list_topics(settings) == topics
    ended = await orderflow.run("doctor")
    assert ended.returncode == 0
    assert len(ended.lines) == len(CHECKS)
    assert "All is well" in ended.stderr


async def test_a_running_server_is_no_stranger(orderflow: Programs, settings: Settings) -> None:
    """Its address is taken, by orderflow itself."""
    server = await orderflow.start("serve")
    await server.wait_for("http_listening")
    findings = await examined(orderflow, 0)
    assert findings["HTTP address"]["message"] == f"{settings.http_address} is held by a running orderflow"


async def test_a_taken_port_is_named(orderflow: Programs, settings: Settings) -> None:
    """With the setting that chooses another."""
    stranger = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", settings.http_address.port)
    async with stranger:
        check, message = await the_failure(orderflow)
    assert check == "HTTP address"
    assert "HTTP_ADDR" in message


@pytest.mark.parametrize(
    ("changes", "check", "fix"),
    [
        ({"POSTGRES_PASSWORD": "not-the-secret-1234"}, "PostgreSQL", "check POSTGRES_USER and POSTGRES_PASSWORD"),
        ({"POSTGRES_DATABASE": "nowhere"}, "PostgreSQL", "POSTGRES_DATABASE"),
        ({"REDIS_USERNAME": "nobody", "REDIS_PASSWORD": "not-the-secret-1234"}, "Redis", "REDIS_PASSWORD"),
        ({"KAFKA_TOPIC": "no-such-topic"}, "Topic of orders", "orderflow topics create"),
        ({"KAFKA_DLQ_TOPIC": "no-such-topic"}, "Topic of dead letters", "orderflow topics create"),
        ({"WORKERS": "9"}, "Partitions", "set WORKERS to 4 at most"),
        ({"BATCH_MAX_ORDERS": "many"}, "Settings", "BATCH_MAX_ORDERS must be a whole number"),
    ],
)
async def test_a_wrong_setting_is_named_with_what_mends_it(
    orderflow: Programs, changes: dict[str, str], check: str, fix: str
) -> None:
    """One failure, and no password in it."""
    found, message = await the_failure(orderflow, **changes)
    assert found == check
    assert fix in message
    assert "not-the-secret" not in message


@pytest.mark.parametrize(
    ("variable", "form", "check"),
    [
        ("POSTGRES_PORT", "{}", "PostgreSQL"),
        ("REDIS_ADDR", "127.0.0.1:{}", "Redis"),
        ("KAFKA_BROKERS", "127.0.0.1:{}", "Kafka"),
    ],
)
async def test_a_service_that_is_not_there_is_named(orderflow: Programs, variable: str, form: str, check: str) -> None:
    """What depends on it is skipped, and all the rest is checked."""
    findings = await examined(orderflow, 1, **{variable: form.format(free_ports(1)[0])})
    assert [found for found in findings if findings[found]["outcome"] == "failed"] == [check]
    assert "orderflow services up" in findings[check]["message"]
    assert "skipped" in {finding["outcome"] for finding in findings.values()}


@pytest.mark.parametrize("service", ["postgres", "redis", "kafka"])
async def test_a_silent_service_holds_up_nothing(orderflow: Programs, service: str) -> None:
    """It accepts connections and never answers: said within the bound, and the others are examined."""

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        changes = {"postgres": {"POSTGRES_PORT": str(port)}, "redis": {"REDIS_ADDR": f"127.0.0.1:{port}"}}
        findings = await examined(orderflow, 1, **changes.get(service, {"KAFKA_BROKERS": f"127.0.0.1:{port}"}))
    assert [finding["outcome"] for finding in findings.values()].count("failed") == 1


async def test_an_old_schema_and_none_are_told_apart(orderflow: Programs, database: asyncpg.Connection) -> None:
    """Both lead to `orderflow migrate`."""
    await database.execute("DELETE FROM schema_migrations WHERE version = (SELECT max(version) FROM schema_migrations)")
    check, message = await the_failure(orderflow)
    assert check == "PostgreSQL"
    assert "older" in message
    assert "orderflow migrate" in message
    await database.execute("DROP TABLE schema_migrations")
    _, message = await the_failure(orderflow)
    assert "no schema yet" in message


async def test_a_read_only_database_is_found(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Whatever made it so."""
    name = settings.postgres_database
    await database.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    check, message = await the_failure(orderflow)
    assert (check, "read-only" in message) == ("PostgreSQL writes", True)


async def test_missing_permissions_are_listed(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Table by table."""
    role = f"reader_{settings.postgres_database}"[:60]
    await database.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'a reader''s'")
    try:
        await database.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"')
        await database.execute(f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{role}"')
        await database.execute(f'REVOKE INSERT, DELETE ON orders FROM "{role}"')
        check, message = await the_failure(orderflow, POSTGRES_USER=role, POSTGRES_PASSWORD="a reader's")
        assert check == "PostgreSQL permissions"
        assert "lacks orders: DELETE, INSERT:" in message or "lacks orders: INSERT, DELETE:" in message
    finally:
        await database.execute(f'DROP OWNED BY "{role}"')
        await database.execute(f'DROP ROLE "{role}"')


async def test_a_clock_that_is_off_is_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours or PostgreSQL's: what counts is the difference."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 60)
    findings = {finding.check: finding async for finding in examine_postgres(settings)}
    assert findings["PostgreSQL clock"].outcome == "failed"
    assert "60 s behind" in findings["PostgreSQL clock"].message


@pytest.fixture
async def small_redis(redis: Redis) -> AsyncIterator[Redis]:
    """Provide Redis with hardly any room; afterwards it is as it was."""
    before = await redis.config_get("maxmemory", "maxmemory-policy")
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    await redis.config_set("maxmemory", "2mb")
    yield redis
    for name, value in before.items():
        await redis.config_set(name, value)
    await redis.config_resetstat()


async def test_a_redis_that_evicts_is_found(orderflow: Programs, small_redis: Redis) -> None:
    """The cache does not fit."""
    for number in range(40):
        await small_redis.set(f"filler-{number}", b"x" * 100_000)
    check, message = await the_failure(orderflow)
    assert check == "Redis memory"
    assert "evicted" in message
    assert "maxmemory" in message


async def test_an_advertised_address_that_cannot_be_reached_is_found(orderflow: Programs, services: ServiceSet) -> None:
    """The broker answers, and sends its clients somewhere else: the usual trap of Kafka in containers."""
    assert services.kafka.detour is not None
    detour = services.kafka.detour
    check, message = await the_failure(orderflow, KAFKA_BROKERS=f"127.0.0.1:{detour.port}")
    assert check == "Kafka's advertised addresses"
    assert f":{detour.advertised}" in message
    assert "advertised.listeners" in message
