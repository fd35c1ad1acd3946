"""PostgreSQL, Redis and Kafka over TLS and with a login: all works, and what does not fit is said in one line.

PostgreSQL and Kafka are real and end their TLS themselves. In front of Valkey, whose embedded build has no TLS, a proxy
of the test does.
"""

import shutil
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientSession

from orderflow.exits import CannotStart, Failed
from orderflow.operating.dbmate import find_dbmate, run_dbmate
from orderflow.services import free_ports
from orderflow.services.service import silent
from orderflow.start.connections import kafka_options, postgres_options
from orderflow.start.migrations import migrations_directory
from orderflow.start.settings import Settings, parse_settings
from tests.support import postgresql_with_openssl
from tests.support.certificates import make_certificates
from tests.support.endpoints import Endpoints
from tests.support.eventually import eventually
from tests.support.isolation import connect, unique
from tests.support.lookup_server import lookup_server
from tests.support.programs import Finished, Programs, Running
from tests.support.secure_services import PASSWORDS, USER, SecureServices, secure_services

WRONG = "not-the-secret-5"
Changes = Callable[[SecureServices], dict[str, str]]


@pytest.fixture(scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecureServices]:
    """Provide the services, with a database that is migrated."""
    if postgresql_with_openssl.package() is None:
        pytest.skip("there is no PostgreSQL with OpenSSL for this machine")
    try:
        await postgresql_with_openssl.programs()
    except Failed as error:
        pytest.skip(f"NOT TESTED, for PostgreSQL with OpenSSL cannot be downloaded: {error}")
    async with secure_services(tmp_path_factory.mktemp("secure")) as services:
        url = parse_settings({**services.environment, "POSTGRES_DATABASE": "migrated"}).postgres_url()
        await run_dbmate(await find_dbmate(silent), url, migrations_directory(), "up")
        yield services


@pytest.fixture
def environment(secured: SecureServices) -> dict[str, str]:
    """Reach the secured services, with a database and topics that are not there yet."""
    topic = unique("orders")
    return {
        **secured.environment,
        "POSTGRES_DATABASE": unique("orderflow_test"),
        "KAFKA_TOPIC": topic,
        "KAFKA_DLQ_TOPIC": f"{topic}-dlq",
        "KAFKA_GROUP_ID": f"{topic}-group",
        "HTTP_ADDR": f"127.0.0.1:{free_ports(1)[0]}",
        "START_TIMEOUT_S": "20",
    }


def assert_secrets_are_kept(texts: Iterable[str]) -> None:
    everything = "\n".join(texts)
    assert not [secret for secret in (*PASSWORDS.values(), WRONG) if secret in everything]


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [
        ("SSL", "PLAIN"),
        ("SASL_SSL", "PLAIN"),
        ("SASL_SSL", "SCRAM-SHA-256"),
        ("SASL_PLAINTEXT", "PLAIN"),
        ("SASL_PLAINTEXT", "SCRAM-SHA-512"),
    ],
)
async def test_orders_go_all_the_way_over_secured_connections(
    orderflow: Programs, environment: dict[str, str], secured: SecureServices, protocol: str, mechanism: str
) -> None:
    """Migrated, published, stored, cached, looked up over HTTP, and rejected: on no connection in plain."""
    environment |= {
        "KAFKA_SECURITY_PROTOCOL": protocol,
        "KAFKA_SASL_MECHANISM": mechanism,
        "KAFKA_BROKERS": secured.kafka[protocol],
    }
    said = [await succeed(orderflow, "migrate"), await succeed(orderflow, "topics", "create")]
    engine, server = await start(orderflow)
    published = await succeed(orderflow, "publish", "20")
    uids = published.lines[1:-1]
    await succeed(orderflow, "publish", "1", "--invalid", "1")
    await engine.wait_for("dead_letter_published")
    assert len(uids) == 20
    async with ClientSession(f"http://{environment['HTTP_ADDR']}") as client:
        for uid in uids:
            assert await looked_up(client, uid) == "hit"
    assert await unencrypted_sessions(environment) == 0
    assert await engine.stop() == 0
    assert await server.stop() == 0
    said += [published]
    assert_secrets_are_kept([*(one.stdout + one.stderr for one in said), *engine.stderr_lines, *server.stderr_lines])


async def start(orderflow: Programs) -> tuple[Running, Running]:
    engine = await orderflow.start("engine", "--workers", "1")
    server = await orderflow.start("serve")
    await engine.wait_for("partition_opened", count=4)
    await server.wait_for("http_listening")
    return engine, server


async def succeed(orderflow: Programs, *arguments: str) -> Finished:
    finished = await orderflow.run(*arguments)
    assert finished.returncode == 0, finished.stderr
    return finished


async def looked_up(client: ClientSession, uid: str) -> str:
    """Return whether the order came from the cache (`hit` or `miss`), waiting until it has been consumed."""

    async def ask() -> tuple[int, str, Any]:
        async with client.get(f"/order/{uid}") as answer:
            return answer.status, answer.headers.get("X-Cache", ""), await answer.json()

    status, cache, order = await eventually(ask, lambda found: found[0] == 200 and found[1] == "hit")
    assert (status, order["order_uid"]) == (200, uid)
    return cache


async def unencrypted_sessions(environment: dict[str, str]) -> int:
    """Return how many sessions of the test's database are not encrypted. There are sessions."""
    connection = await connect(environment)
    try:
        encrypted = await connection.fetch(
            "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = $1 AND usename = $2",
            environment["POSTGRES_DATABASE"],
            USER,
        )
    finally:
        await connection.close()
    assert len(encrypted) > 2
    return sum(not row["ssl"] for row in encrypted)


async def test_the_doctor_finds_secured_services_well(orderflow: Programs) -> None:
    """It uses the same settings, and reaches the addresses that Kafka advertises."""
    await succeed(orderflow, "migrate")
    await succeed(orderflow, "topics", "create")
    told = await orderflow.run("doctor")
    assert told.returncode == 0, told.stdout


async def test_the_doctor_says_whose_certificate_is_not_accepted(orderflow: Programs, secured: SecureServices) -> None:
    """Each of the three by itself, with the setting that mends it."""
    stranger = str(secured.certificates.stranger)
    told = await orderflow.run(
        "doctor", POSTGRES_SSL_ROOT_CERT=stranger, KAFKA_SSL_CAFILE=stranger, SSL_CERT_FILE=stranger
    )
    assert told.returncode == 1
    failed = [line for line in told.lines if line.startswith("FAILED") and "certificate is not accepted" in line]
    for variable in ("POSTGRES_SSL_ROOT_CERT", "SSL_CERT_FILE", "KAFKA_SSL_CAFILE"):
        assert sum(variable in line for line in failed) == 1, told.stdout


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-full"])
@pytest.mark.parametrize("authority", ["authority", ""])
async def test_every_mode_of_tls_reaches_postgresql(
    orderflow: Programs, environment: dict[str, str], secured: SecureServices, mode: str, authority: str
) -> None:
    """Each does for the program and for dbmate. Without a file, verify-full asks the system's trust store."""
    root = str(secured.certificates.authority) if authority else ""
    environment |= {"POSTGRES_SSL_MODE": mode, "POSTGRES_SSL_ROOT_CERT": root}
    await succeed(orderflow, "migrate")
    await succeed(orderflow, "dlq", "list")


async def test_prefer_does_without_tls_where_there_is_none(
    orderflow: Programs, environment: dict[str, str], template: str, endpoints: Endpoints
) -> None:
    """A server that has no TLS is spoken to in plain by `prefer`, and refused by `require`."""
    if endpoints.embedded is None:
        pytest.skip("whether this run's PostgreSQL has TLS is not known")
    environment |= {**endpoints.environment, "POSTGRES_DATABASE": template}
    for command in (["migrate"], ["dlq", "list"]):
        preferred = await orderflow.run(*command, POSTGRES_SSL_MODE="prefer")
        assert preferred.returncode == 0, preferred.stderr
        required = await orderflow.run(*command, POSTGRES_SSL_MODE="require")
        assert required.returncode == 3
        assert "POSTGRES_SSL_MODE" in last_line(required)


def last_line(finished: Finished) -> str:
    return finished.stderr.splitlines()[-1]


POSTGRES: dict[str, tuple[Changes, str]] = {
    "another authority": (
        lambda services: {"POSTGRES_SSL_ROOT_CERT": str(services.certificates.stranger)},
        "POSTGRES_SSL_ROOT_CERT",
    ),
    "another name": (lambda _: {"POSTGRES_HOST": "localhost"}, "POSTGRES_HOST (localhost)"),
    "no TLS": (lambda _: {"POSTGRES_SSL_MODE": "disable"}, "POSTGRES_SSL_MODE (disable)"),
    "another password": (lambda _: {"POSTGRES_PASSWORD": WRONG}, "POSTGRES_PASSWORD"),
    "no such file": (lambda _: {"POSTGRES_SSL_ROOT_CERT": "/no/such/file"}, "POSTGRES_SSL_ROOT_CERT"),
}
REDIS: dict[str, tuple[Changes, str]] = {
    "another authority": (lambda services: {"SSL_CERT_FILE": str(services.certificates.stranger)}, "SSL_CERT_FILE"),
    "no TLS": (lambda _: {"REDIS_TLS": "false"}, "REDIS_TLS"),
    "TLS on a plain port": (lambda services: {"REDIS_ADDR": services.plain_redis}, "REDIS_TLS"),
    "another password": (lambda _: {"REDIS_PASSWORD": WRONG}, "REDIS_PASSWORD"),
    "another user": (lambda _: {"REDIS_USERNAME": "nobody"}, "REDIS_USERNAME"),
}
KAFKA: dict[str, tuple[Changes, str]] = {
    "another authority": (
        lambda services: {"KAFKA_SSL_CAFILE": str(services.certificates.stranger)},
        "KAFKA_SSL_CAFILE",
    ),
    "another authority for the system": (
        lambda services: {"KAFKA_SSL_CAFILE": "", "SSL_CERT_FILE": str(services.certificates.stranger)},
        "certificate is not accepted",
    ),
    "no such file": (lambda _: {"KAFKA_SSL_CAFILE": "/no/such/file"}, "KAFKA_SSL_CAFILE"),
    "no TLS": (lambda _: {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, "KAFKA_SECURITY_PROTOCOL (PLAINTEXT)"),
    "a login without TLS": (
        lambda _: {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"},
        "KAFKA_SECURITY_PROTOCOL (SASL_PLAINTEXT)",
    ),
    "TLS on a plain port": (
        lambda services: {"KAFKA_BROKERS": services.kafka["SASL_PLAINTEXT"]},
        "KAFKA_SECURITY_PROTOCOL (SASL_SSL)",
    ),
    "another password": (lambda _: {"KAFKA_SASL_PASSWORD": WRONG}, "KAFKA_SASL_PASSWORD"),
    "another password, in plain": (
        lambda _: {"KAFKA_SASL_PASSWORD": WRONG, "KAFKA_SASL_MECHANISM": "PLAIN"},
        "KAFKA_SASL_PASSWORD",
    ),
    "another user": (lambda _: {"KAFKA_SASL_USERNAME": "nobody"}, "KAFKA_SASL_USERNAME"),
    "no user": (lambda _: {"KAFKA_SASL_USERNAME": ""}, "KAFKA_SASL_USERNAME must be set"),
}


async def refused(orderflow: Programs, command: list[str], changes: dict[str, str], told: str) -> None:
    """Expect exit code 3 at once, however long a service would be waited for, and one line that names the setting."""
    ended = await orderflow.run(*command, timeout_s=15, **{"POSTGRES_DATABASE": "migrated"} | changes)
    assert ended.returncode == 3, ended.stderr
    assert told in last_line(ended)
    assert_secrets_are_kept([ended.stdout, ended.stderr])


@pytest.mark.parametrize("command", ["migrate", "serve"])
@pytest.mark.parametrize("what", POSTGRES)
async def test_what_postgresql_does_not_take_is_refused(
    orderflow: Programs, secured: SecureServices, what: str, command: str
) -> None:
    """Neither waited for nor tried without TLS."""
    changes, told = POSTGRES[what]
    await refused(orderflow, [command], changes(secured), told)


@pytest.mark.parametrize("what", REDIS)
async def test_what_redis_does_not_take_is_refused(orderflow: Programs, secured: SecureServices, what: str) -> None:
    """Neither waited for nor tried without TLS."""
    changes, told = REDIS[what]
    await refused(orderflow, ["serve"], changes(secured), told)


@pytest.mark.parametrize("command", [["topics", "create"], ["engine"]], ids=lambda words: words[0])
@pytest.mark.parametrize("what", KAFKA)
async def test_what_kafka_does_not_take_is_refused(
    orderflow: Programs, secured: SecureServices, what: str, command: list[str]
) -> None:
    """Neither waited for nor tried without TLS."""
    changes, told = KAFKA[what]
    await refused(orderflow, command, changes(secured), told)


async def told_by_health(environment: dict[str, str]) -> dict[str, Any]:
    """Return the error that health has of each service, None for one that is well."""
    async with (
        lookup_server(parse_settings({**environment, "POSTGRES_DATABASE": "migrated"})) as server,
        server.client.get("/healthz") as answer,
    ):
        checks = (await answer.json())["checks"]
        return {name: checks[name].get("error") for name in ("postgresql", "redis", "kafka")}


async def test_health_names_a_certificate_or_a_login_that_is_not_accepted(
    orderflow: Programs, environment: dict[str, str], secured: SecureServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is not a server that is away, and somebody else mends it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(secured.certificates.authority))
    await succeed(orderflow, "topics", "create")
    assert await told_by_health(environment) == {"postgresql": None, "redis": None, "kafka": None}
    told = await told_by_health(environment | dict.fromkeys(PASSWORDS, WRONG))
    assert told == dict.fromkeys(told, "the login was refused: see `orderflow doctor`")
    stranger = str(secured.certificates.stranger)
    monkeypatch.setenv("SSL_CERT_FILE", stranger)
    told = await told_by_health(environment | {"POSTGRES_SSL_ROOT_CERT": stranger, "KAFKA_SSL_CAFILE": stranger})
    assert told == dict.fromkeys(told, "the certificate is not accepted: see `orderflow doctor`")


async def test_a_login_that_is_missing_is_told_of_after_the_wait(orderflow: Programs, secured: SecureServices) -> None:
    """A broker that hangs up on who does not log in looks like one that starts: exit 1, and the setting is named."""
    changes = {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT", "KAFKA_BROKERS": secured.kafka["SASL_PLAINTEXT"]}
    ended = await orderflow.run("topics", "create", START_TIMEOUT_S="2", **changes)
    assert ended.returncode == 1
    assert "KAFKA_SECURITY_PROTOCOL (PLAINTEXT)" in last_line(ended)


async def test_postgresql_with_a_new_authority_is_reached_by_the_same_options(
    secured: SecureServices, environment: dict[str, str], tmp_path: Path
) -> None:
    """They are made once; its certificate and the file change; the next connection goes by the new file alone."""
    trusted, other = tmp_path / "trusted.pem", tmp_path / "other"
    other.mkdir()
    new = make_certificates(other)
    shutil.copy(secured.certificates.authority, trusted)
    environment |= {"POSTGRES_DATABASE": "migrated", "POSTGRES_SSL_ROOT_CERT": str(trusted)}
    options = postgres_options(parse_settings(environment))
    await reached(options)
    try:
        await secured.postgresql.present(new)
        assert not await eventually(lambda: accepted(options), lambda well: not well)
        shutil.copy(new.authority, trusted)
        await reached(options)
    finally:
        await secured.postgresql.present(secured.certificates)
    assert not await eventually(lambda: accepted(options), lambda well: not well)


async def reached(options: dict[str, Any]) -> None:
    connection = await asyncpg.connect(**options)
    try:
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    finally:
        await connection.close()


async def accepted(options: dict[str, Any]) -> bool:
    """Return whether a new connection accepts the server's certificate."""
    try:
        await reached(options)
    except ssl.SSLCertVerificationError:
        return False
    return True


def test_a_file_that_is_no_certificate_is_refused(secured: SecureServices, settings: Settings) -> None:
    """The line names the setting."""
    no_certificate = str(secured.certificates.key)
    for variable, options in (("POSTGRES_SSL_ROOT_CERT", postgres_options), ("KAFKA_SSL_CAFILE", kafka_options)):
        with pytest.raises(CannotStart, match=variable):
            options(parse_settings({**secured.environment, variable: no_certificate}))
