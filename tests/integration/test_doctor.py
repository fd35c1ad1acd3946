"""`orderflow doctor` on set-ups that are broken, each in its own way."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import attrs
import pytest
from msgspec import json
from redis.asyncio import Redis

from engine.telemetry.trace_context import new_traceparent
from handlers.body import VERSION_WIDTH, body_end, finish_body
from handlers.cache import OrderCache, versioned_trace
from handlers.cache_servers import OneServer
from orderflow.doctor.finding import CHECK_TIMEOUT_S
from orderflow.doctor.schema_checks import TABLES
from orderflow.operating.dbmate import find_dbmate, run_dbmate
from orderflow.services import ServiceSet, free_ports
from orderflow.services.service import silent
from orderflow.start.brokers import list_topics
from orderflow.start.connections import redis_client
from orderflow.start.migrations import migrations_directory
from orderflow.start.settings import Settings
from tests.support.programs import Programs
from tests.support.topic_admin import configure_topic, delete_topic

CHECKS = [
    "Settings",
    "Lines of .env",
    "Python",
    "HTTP address",
    "Tracing",
    "PostgreSQL",
    "PostgreSQL version",
    "PostgreSQL pooler",
    "PostgreSQL writes",
    "PostgreSQL commits",
    "PostgreSQL durability",
    "PostgreSQL permissions",
    "PostgreSQL clock",
    "PostgreSQL tables",
    "PostgreSQL memory",
    "PostgreSQL changes",
    "Brake",
    "Pauses",
    "Partitions' offsets",
    "Dead letters",
    "Refused messages",
    "Redis",
    "Redis version",
    "Redis memory",
    "Kafka",
    "Kafka's advertised addresses",
    "Topic of orders",
    "Topic of dead letters",
    "Partitions",
    "Right to read orders",
    "Right to write dead letters",
    "Right to join the group",
    "Partitions' leaders",
    "Open transactions",
    "Members of the group",
]


PROGRAM_S = 10.0
"""Far more than the program itself takes on a busy machine."""


async def examined(orderflow: Programs, returncode: int, **changes: str) -> dict[str, dict[str, Any]]:
    """Run the doctor and return its findings by check."""
    ended = await orderflow.run("doctor", "--json", **changes)
    assert ended.returncode == returncode, (ended.stdout, ended.stderr)
    return {finding["check"]: finding for finding in json.decode(ended.stdout)}


async def the_failure(orderflow: Programs, **changes: str) -> tuple[str, str]:
    """Run the doctor, who must find exactly one thing wrong; return the check and the message."""
    findings = await examined(orderflow, 1, **changes)
    [failure] = [finding for finding in findings.values() if finding["outcome"] == "failed"]
    assert (failure["ok"], failure["level"]) == (False, "failed")
    assert failure["message"] == ": ".join(filter(None, (failure["detail"], failure["fix"])))
    return failure["check"], failure["message"]


def the_command(message: str) -> str:
    """Return the command that a message says to run."""
    return message.partition("run `")[2].partition("`")[0]


async def test_a_set_up_that_is_well_passes_every_check(orderflow: Programs, settings: Settings, redis: Redis) -> None:
    """Exit 0, a line a check, and nothing is changed: no topic comes into being, but Kafka's own one of groups."""
    await redis.config_resetstat()
    topics = await list_topics(settings)
    findings = await examined(orderflow, 0)
    assert list(findings) == CHECKS
    assert {finding["outcome"] for finding in findings.values()} == {"ok"}
    assert {(finding["ok"], finding["level"], finding["fix"]) for finding in findings.values()} == {(True, "ok", "")}
    assert all(finding["detail"] == finding["message"] for finding in findings.values())
    assert await list_topics(settings) - {"__consumer_offsets"} == topics - {"__consumer_offsets"}
    ended = await orderflow.run("doctor")
    assert ended.returncode == 0
    assert len(ended.lines) == len(CHECKS)
    assert "No problem found" in ended.stderr


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
        ({"POSTGRES_PASSWORD": "not-the-secret-1234"}, "PostgreSQL", ") and POSTGRES_PASSWORD"),
        ({"POSTGRES_DATABASE": "nowhere"}, "PostgreSQL", "POSTGRES_DATABASE"),
        ({"REDIS_USERNAME": "nobody", "REDIS_PASSWORD": "not-the-secret-1234"}, "Redis", "REDIS_PASSWORD"),
        ({"WORKERS": "9"}, "Partitions", "set WORKERS (9) to 4 at most"),
        ({"BATCH_MAX_ORDERS": "many"}, "Settings", "BATCH_MAX_ORDERS must be a whole number"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "foo"}, "Tracing", "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "Tracing", "OTEL_TRACES_EXPORTER must be otlp or none"),
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
    ("rules", "kept_from"),
    [
        ("~order:* +@all", "No permissions to access a key"),
        ("%R~order:* %R~order-trace* +@all", "No permissions to access a key"),
        ("~order:* ~order-trace* +@all -evalsha", "'evalsha'"),
    ],
    ids=["keys", "writing", "a command"],
)
async def test_a_redis_user_that_may_do_too_little_is_named_with_the_rule_that_mends_it(
    orderflow: Programs, settings: Settings, redis: Redis, rules: str, kept_from: str
) -> None:
    """The engine does not start; once the command was run as it stands, all is well and the cache has all it needs."""
    user, password = settings.kafka_group_id, "not-the-secret-1234"
    changes = {"REDIS_USERNAME": user, "REDIS_PASSWORD": password}
    await redis.execute_command("ACL", "SETUSER", user, "on", f">{password}", *rules.split())
    try:
        check, message = await the_failure(orderflow, **changes)
        ended = await orderflow.run("engine", **changes)
        assert (check, ended.returncode) == ("Redis", 3)
        assert ended.stderr.splitlines()[-1] == f"orderflow: {message}"
        assert "order:*, order-trace:* and order-traces" in message
        assert kept_from in message
        assert password not in message

        await redis.execute_command("ACL", "SETUSER", user, "reset", "on", f">{password}")
        await redis.execute_command(*message.partition("in redis-cli `")[2].rstrip("`").split())
        await redis.config_resetstat()
        await examined(orderflow, 0, **changes)
        restricted = redis_client(attrs.evolve(settings, redis_username=user, redis_password=password))
        async with restricted:
            cache, moment = OrderCache(OneServer(restricted), 60), datetime(2026, 1, 1, tzinfo=UTC)
            body = finish_body(b'{"order_uid":"a"}', body_end(moment, moment))
            assert await cache.put_many([("a", body)], [("a", versioned_trace(body, new_traceparent()))]) == 0
            assert (await cache.get_many(["a"])).traces
            assert await cache.drop_older([("a", b"9" * VERSION_WIDTH)]) == 1
            assert await cache.identities()
            assert await cache.try_out()
    finally:
        await redis.acl_deluser(user)


@pytest.mark.parametrize(
    ("variable", "check"), [("KAFKA_TOPIC", "Topic of orders"), ("KAFKA_DLQ_TOPIC", "Topic of dead letters")]
)
async def test_a_missing_topic_is_named_with_the_command_that_creates_it(
    orderflow: Programs, settings: Settings, variable: str, check: str
) -> None:
    """It is not created by being looked for; once it was, all is well."""
    changes = {variable: f"{settings.kafka_topic}-missing"}
    found, message = await the_failure(orderflow, **changes)
    assert found == check
    try:
        assert (await orderflow.run(*the_command(message).split()[1:], **changes)).returncode == 0
        await examined(orderflow, 0, **changes)
    finally:
        await delete_topic(settings, changes[variable])


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
        began_s = time.monotonic()
        findings = await examined(orderflow, 1, **changes.get(service, {"KAFKA_BROKERS": f"127.0.0.1:{port}"}))
        assert time.monotonic() - began_s < CHECK_TIMEOUT_S + PROGRAM_S
    assert [finding["outcome"] for finding in findings.values()].count("failed") == 1


async def test_an_old_schema_and_none_are_told_apart(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Both lead to `orderflow migrate`, which mends an old one: the last migration was taken back."""
    await run_dbmate(await find_dbmate(silent), settings.postgres_url(), migrations_directory(), "down")
    check, message = await the_failure(orderflow)
    assert check == "PostgreSQL"
    assert "older" in message
    assert the_command(message) == "orderflow migrate"
    assert (await orderflow.run("migrate")).returncode == 0
    await examined(orderflow, 0)
    await database.execute("DROP TABLE schema_migrations")
    _, message = await the_failure(orderflow)
    assert "no schema yet" in message


async def test_the_tables_that_are_looked_for_are_those_that_the_migrations_make(database: asyncpg.Connection) -> None:
    """All of them, with all their columns: whoever adds a migration adds to the list."""
    rows = await database.fetch(
        "SELECT table_name, array_agg(column_name::text) "
        "FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name) "
        "WHERE table_schema = 'public' AND table_type = 'BASE TABLE' GROUP BY table_name"
    )
    assert {name: frozenset(columns) for name, columns in rows if name != "schema_migrations"} == TABLES


async def test_a_table_that_was_renamed_is_named_with_the_statement_that_mends_it(
    orderflow: Programs, database: asyncpg.Connection
) -> None:
    """The schema's version is current; commands that need the table lead to the doctor."""
    await database.execute('ALTER TABLE dead_letters RENAME TO "Dl 2"')
    listing = await orderflow.run("dlq", "list")
    assert listing.returncode == 1
    assert "`orderflow doctor`" in listing.stderr.splitlines()[-1]
    check, message = await the_failure(orderflow)
    assert (check, "missing: dead_letters" in message) == ("PostgreSQL tables", True)
    await database.execute(message.partition("run in psql: ")[2])
    await examined(orderflow, 0)


async def test_a_table_and_columns_that_were_dropped_are_named(
    orderflow: Programs, database: asyncpg.Connection
) -> None:
    """First what is missing whole, then what is missing in part."""
    await database.execute("ALTER TABLE orders DROP COLUMN traceparent, DROP COLUMN source_epoch")
    await database.execute("ALTER TABLE brakes RENAME TO brakes_before")
    await database.execute("ALTER TABLE brakes_before DROP COLUMN seen_at")
    _, message = await the_failure(orderflow)
    assert "missing: brakes: restore brakes from a backup" in message
    await database.execute("ALTER TABLE brakes_before ADD COLUMN seen_at timestamptz")
    await database.execute("ALTER TABLE brakes_before RENAME TO brakes")
    check, message = await the_failure(orderflow)
    assert check == "PostgreSQL tables"
    assert "orders lacks source_epoch, traceparent: " in message


async def test_workers_that_do_not_consume_are_found(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """The brake, until it is released as the doctor says; then a partition that a worker refuses."""
    await database.execute(
        "INSERT INTO brakes (brake_id, consumer_group, topic, worker, host, until, rejected, messages) "
        "SELECT gen_random_uuid(), $1, $2, 'worker-' || number, 'here', now() + interval '1 hour', 40, 50 "
        "FROM generate_series(1, 4) AS number",
        settings.kafka_group_id,
        settings.kafka_topic,
    )
    await database.execute("UPDATE brakes SET seen_at = now() + interval '1 hour'")
    check, message = await the_failure(orderflow)
    assert (check, message.startswith("4 workers pause")) == ("Brake", True)
    assert (await orderflow.run(*message.partition("and run `orderflow ")[2].partition("`")[0].split())).returncode == 0
    await examined(orderflow, 0)
    await database.execute(
        "INSERT INTO workers (worker_id, worker, host, pid, state, partitions, restarts, started_at, heartbeat_at, "
        "details, consumer_group, topic) VALUES ('here/1/worker-1', 'worker-1', 'here', 1, 'idle', '{3}', 0, now(), "
        """now() + interval '1 hour', '{"refused": {"3": "the broker no longer has offset 7"}}', $1, $2)""",
        settings.kafka_group_id,
        settings.kafka_topic,
    )
    check, message = await the_failure(orderflow)
    assert check == "Partitions' offsets"
    assert "partition 3 is refused (the broker no longer has offset 7)" in message
    assert "orderflow offsets reset" in message
    broken = {"offset": 57, "reason": "corrupt_batch", "detail": "a checksum is wrong", "fix": "run `orderflow skip`"}
    details = json.encode({"refused": {"3": broken}}).decode()
    await database.execute("UPDATE workers SET details = $1::text::jsonb", details)
    _, message = await the_failure(orderflow)
    assert "partition 3 is refused at offset 57 (a checksum is wrong)" in message
    assert "run `orderflow skip`" in message


async def test_a_read_only_database_is_found(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Whatever made it so, with the statement that mends it."""
    name, user = settings.postgres_database, settings.postgres_user
    for scope in (f'DATABASE "{name}"', f'ROLE "{user}" IN DATABASE "{name}"'):
        await database.execute(f"ALTER {scope} SET default_transaction_read_only = on")
        check, message = await the_failure(orderflow)
        assert (check, "read-only" in message) == ("PostgreSQL writes", True)
        await database.execute("SET default_transaction_read_only = on")  # whoever mends it is in the same place
        await database.execute(message.partition("as a superuser: ")[2])
        await database.execute("SET default_transaction_read_only = off")
        await examined(orderflow, 0)


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


async def test_a_clock_that_is_off_is_found(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """PostgreSQL's or ours: what counts is the difference."""
    await database.execute("CREATE SCHEMA skewed")
    await database.execute(
        "CREATE FUNCTION skewed.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
        "RETURN pg_catalog.clock_timestamp() - interval '60 s'"
    )
    name = settings.postgres_database
    await database.execute(f'ALTER DATABASE "{name}" SET search_path = skewed, pg_catalog, public')
    check, message = await the_failure(orderflow)
    assert check == "PostgreSQL clock"
    assert "60 s behind" in message
    assert "NTP" in message


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
    for command in message.partition("run in redis-cli: ")[2].partition(" (")[0].split(", "):
        await small_redis.execute_command(*command.split())
    await examined(orderflow, 0)


async def test_an_advertised_address_that_cannot_be_reached_is_found(orderflow: Programs, services: ServiceSet) -> None:
    """The broker answers, and sends its clients somewhere else: the usual trap of Kafka in containers."""
    assert services.kafka.proxy_listener is not None
    proxy_listener = services.kafka.proxy_listener
    check, message = await the_failure(orderflow, KAFKA_BROKERS=f"127.0.0.1:{proxy_listener.port}")
    assert check == "Kafka's advertised addresses"
    assert f":{proxy_listener.advertised}" in message
    assert "advertised.listeners" in message


async def test_a_compacted_topic_of_dead_letters_is_a_warning(orderflow: Programs, settings: Settings) -> None:
    """It works, but refuses letters without a key and drops older ones of the same key; the exit code stays 0."""
    await configure_topic(settings, settings.kafka_dlq_topic, cleanup_policy="compact,delete")
    found = (await examined(orderflow, 0))["Topic of dead letters"]
    assert found["outcome"] == "warning"
    assert "refuses letters without a key" in found["message"]
    assert "it keeps only the last letter of each key" in found["message"]
    assert f"--entity-name {settings.kafka_dlq_topic} --add-config cleanup.policy=delete" in found["message"]
    assert "1 warning" in (await orderflow.run("doctor")).stderr
