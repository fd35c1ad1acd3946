"""Checks before a long-running command starts: services answer, the schema is current, the topics exist.

It waits for PostgreSQL and Kafka, at most `START_TIMEOUT_S`. A problem that waiting cannot fix ends the command with
exit code 3; the message names the command or the setting that fixes it.
"""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg

from engine.postgres.connecting import NoWritableHost, connect
from engine.postgres.errors import ERRORS, is_outage, is_refusal_to_connect
from engine.postgres.recognition import StatementPooling
from orderflow.exits import CannotStart, Failed
from orderflow.progress import report_newer_schema
from orderflow.start.brokers import wait_for_topic
from orderflow.start.connections import postgres_options
from orderflow.start.redis import look_at_redis
from orderflow.start.schema import Schema, read_schema
from orderflow.start.settings import Settings
from orderflow.start.tls import certificate_refusal
from orderflow.start.unique_key import check_unique_key
from orderflow.start.waiting import wait_for_answer

_UNDEFINED_TABLE = "42P01"
_TLS_REJECTED = "rejected SSL upgrade"
STANDBY = "PostgreSQL is a standby, which accepts no writes: point POSTGRES_HOST at the primary"


async def wait_until_ready(settings: Settings, *, kafka: bool = True) -> None:
    """Wait until PostgreSQL answers with the current schema, and with `kafka` also Kafka with its topics.

    With `kafka`, PostgreSQL must be no standby. It waits for them in parallel. Redis is only looked at, once: it is not
    needed. Raises `Failed` after the time-out, `CannotStart` when waiting cannot help.
    """
    checks = [wait_for_postgres(settings, writes=kafka), look_at_redis(settings)]
    if kafka:
        checks.append(_wait_for_topics(settings))
    tasks = [asyncio.create_task(check) for check in checks]
    try:
        for task in asyncio.as_completed(tasks):
            await task
    finally:
        for pending in tasks:
            pending.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ready_before(stop: asyncio.Event, settings: Settings, *, kafka: bool = True) -> bool:
    """Call `wait_until_ready` and return True; return False as soon as `stop` is set."""
    ready = asyncio.create_task(wait_until_ready(settings, kafka=kafka), name="preflight")
    stopped = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not ready.done():
        ready.cancel()
        await asyncio.wait({ready})
        return False
    await ready
    return not stop.is_set()


async def wait_for_postgres(settings: Settings, *, writes: bool = False) -> None:
    """Wait until PostgreSQL answers with the current schema; with `writes` also until it is no standby.

    Reports a schema that is newer than this program. Raises `Failed` and `CannotStart`.
    """
    address = settings.postgres_address
    failure = (
        f"PostgreSQL did not answer within {settings.start_timeout_s:g} s: "
        "start it, or check POSTGRES_HOST and POSTGRES_PORT"
    )
    found: Schema | None = None
    standby = False

    async def check() -> bool:
        nonlocal found, standby
        try:
            found = await check_schema(settings)
        except NoWritableHost:
            standby = True
            return False
        standby = found is not None and writes and found.standby
        return found is not None and not standby

    try:
        await _wait(settings, check, "PostgreSQL", address, failure)
    except Failed:
        if standby:
            raise Failed(f"{STANDBY} ({address}; waited {settings.start_timeout_s:g} s)") from None
        raise
    if found is not None and found.newer:
        report_newer_schema(found.newer)


async def check_schema(settings: Settings) -> Schema | None:
    """Check once. Returns None when PostgreSQL is down.

    Raises `CannotStart` when waiting cannot help, `NoWritableHost` when no host of a list accepts writes.
    """
    try:
        connection = await connect(**postgres_options(settings))
    except NoWritableHost:
        raise
    except ERRORS as error:
        if refusal := refusal_of_postgres(settings, error):
            raise CannotStart(refusal) from None
        return None
    try:
        schema = await read_schema(connection)
        if problem := schema.unfit or schema.lacking:
            raise CannotStart(problem)
        await check_unique_key(connection)
    except asyncpg.PostgresError as error:
        if error.sqlstate == _UNDEFINED_TABLE:
            raise CannotStart("the database has no schema yet: run `orderflow migrate`") from None
        if refusal := refusal_of_postgres(settings, error):
            raise CannotStart(refusal) from None
        if is_outage(error):
            return None
        raise
    except ERRORS:
        return None
    finally:
        connection.terminate()
    return schema


def refusal_of_postgres(settings: Settings, error: BaseException) -> str | None:
    """Return why PostgreSQL refuses the connection, with the fix; None if waiting may help."""
    if reason := certificate_refusal(error):
        return (
            f"PostgreSQL's certificate is not accepted ({reason}): "
            f"check POSTGRES_SSL_ROOT_CERT and POSTGRES_HOST ({settings.postgres_host})"
        )
    if _TLS_REJECTED in str(error):
        return "PostgreSQL does not use TLS: give it a certificate (ssl = on), or set POSTGRES_SSL_MODE to prefer"
    if isinstance(error, StatementPooling):
        return (
            f"the pooler at {settings.postgres_address} gives each statement another session: "
            "set its pool_mode to transaction or session, or name PostgreSQL itself in POSTGRES_HOST and POSTGRES_PORT"
        )
    return _refused_login(settings, error) if is_refusal_to_connect(error) else None


def _refused_login(settings: Settings, error: BaseException) -> str:
    match getattr(error, "sqlstate", ""):
        case "3D000":
            return f"PostgreSQL has no database {settings.postgres_database!r}: create it, or check POSTGRES_DATABASE"
        case "42501":
            return f"PostgreSQL user {settings.postgres_user!r} lacks permissions: grant them as in docs/permissions.md"
        case "28000":
            return (
                f"PostgreSQL does not accept {settings.postgres_user!r} from this machine: check POSTGRES_USER, "
                f"POSTGRES_SSL_MODE ({settings.postgres_ssl_mode}) and its pg_hba.conf"
            )
        case _:
            return (
                f"PostgreSQL refused the login of {settings.postgres_user!r}: check POSTGRES_USER and POSTGRES_PASSWORD"
            )


async def _wait_for_topics(settings: Settings) -> None:
    await wait_for_topic(settings, settings.kafka_topic)
    await wait_for_topic(settings, settings.kafka_dlq_topic)


async def _wait(
    settings: Settings, check: Callable[[], Awaitable[bool]], service: str, address: object, failure: str
) -> None:
    async def ask() -> bool | None:
        return await check() or None

    await wait_for_answer(ask, settings.start_timeout_s, service, str(address), failure)
