"""Checks of PostgreSQL: reachable, version, schema, writable, commits, permissions, clock, and tables."""

import time
from collections.abc import AsyncIterator

from asyncpg import Connection

from engine.postgres.connecting import NoWritableHost, connect
from engine.postgres.errors import ERRORS, describe
from engine.postgres.session import fetch_time_s
from engine.postgres.standby import COMMITS_WAIT, commits_wait
from orderflow.doctor.durability_checks import check_durability
from orderflow.doctor.finding import Finding, Outcome, failed, ok, skipped, warned
from orderflow.doctor.ingest_checks import check_brake, check_dead_letters, check_partitions_accepted, check_pauses
from orderflow.doctor.memory_checks import check_memory
from orderflow.doctor.pooler_checks import check_pooler
from orderflow.doctor.refusal_checks import check_changes, check_refusals
from orderflow.doctor.schema_checks import TABLES, check_tables
from orderflow.doctor.setting_sources import change_of_setting
from orderflow.exits import CannotStart
from orderflow.start.connections import postgres_options
from orderflow.start.migrations import latest_version
from orderflow.start.preflight import check_schema
from orderflow.start.schema import Schema
from orderflow.start.settings import Settings

OLDEST_VERSION = 15
MAX_CLOCK_DIFFERENCE_S = 5.0
_WANTED = ("SELECT", "INSERT", "UPDATE", "DELETE")
_OF_SERVER = tuple(
    f"PostgreSQL {what}"
    for what in ("version", "pooler", "writes", "commits", "durability", "permissions", "clock", "tables")
)
_OF_TABLES = (
    "PostgreSQL memory",
    "PostgreSQL changes",
    "Brake",
    "Partitions' offsets",
    "Dead letters",
    "Refused messages",
)
_MISSING_PRIVILEGES = """
SELECT name || ': ' || string_agg(privilege, ', ') FROM unnest($1::text[]) AS name, unnest($2::text[]) AS privilege
WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(name, privilege) GROUP BY name ORDER BY name
"""

_READ_ONLY_SOURCE = "SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only'"


async def examine_postgres(settings: Settings) -> AsyncIterator[Finding]:
    """Run the checks one after the other; those that need a connection are skipped without one."""
    schema, reached = await _reach(settings)
    yield reached
    try:
        connection = await connect(**postgres_options(settings))
    except ERRORS:
        for check in (*_OF_SERVER, *_OF_TABLES):
            yield skipped(check, "PostgreSQL")
        return
    try:
        yield _version(connection)
        yield await check_pooler(connection, settings)
        yield await _writes(connection)
        yield await _commits(connection)
        yield await check_durability(connection)
        permissions = await _permissions(connection, settings)
        yield permissions
        yield await _clock(connection)
        tables = await check_tables(connection) if schema else skipped("PostgreSQL tables", "the current schema")
        yield tables
        if permissions.outcome is Outcome.OK and tables.outcome is Outcome.OK:
            yield await check_memory(connection)
            yield await check_changes(connection)
            yield await check_brake(connection, settings)
            yield await check_pauses(connection, settings)
            yield await check_partitions_accepted(connection, settings)
            yield await check_dead_letters(connection, settings)
            yield await check_refusals(connection, settings)
        else:
            for check in _OF_TABLES:
                yield skipped(check, "the tables, and the permission to read them")
    except ERRORS as error:
        yield failed("PostgreSQL", f"a query failed ({describe(error)})", "see its log")
    finally:
        connection.terminate()


async def _reach(settings: Settings) -> tuple[Schema | None, Finding]:
    """Return what the database has, if it can be used, and whether PostgreSQL answers."""
    place = settings.postgres_address
    try:
        schema = await check_schema(settings)
    except CannotStart as problem:
        return None, Finding("PostgreSQL", Outcome.FAILED, str(problem))
    except NoWritableHost:
        fix = "promote a standby, or check POSTGRES_HOST"
        return None, failed("PostgreSQL", f"no host accepts writes at {place}", fix)
    if schema is None:
        fix = "start it (`orderflow services up`), or check POSTGRES_HOST and POSTGRES_PORT"
        return None, failed("PostgreSQL", f"nothing answers at {place}", fix)
    if schema.newer:
        fix = "update this program, unless they belong to another one"
        return schema, warned("PostgreSQL", f"answers at {place}, {schema.newer}", fix)
    return schema, ok("PostgreSQL", f"answers at {place}, schema {latest_version()}")


def _version(connection: Connection) -> Finding:
    version = connection.get_server_version()
    text = f"{version.major}.{version.minor}"
    if version.major < OLDEST_VERSION:
        return failed("PostgreSQL version", f"{text} is too old", f"run {OLDEST_VERSION} or later")
    return ok("PostgreSQL version", text)


async def _writes(connection: Connection) -> Finding:
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        fix = "point POSTGRES_HOST at the primary"
        return failed("PostgreSQL writes", "this is a standby, which accepts no writes", fix)
    if await connection.fetchval("SHOW transaction_read_only") == "on":
        source = await connection.fetchval(_READ_ONLY_SOURCE)
        fix = f"run in psql as a superuser: {await _writable_again(connection, source)}"
        return failed("PostgreSQL writes", f"it is read-only (set by: {source})", fix)
    return ok("PostgreSQL writes", "accepted")


async def _commits(connection: Connection) -> Finding:
    if await commits_wait(connection):
        without = "ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf();"
        fix = f"start the standby. If it is lost, run in psql as a superuser: {without}"
        return failed("PostgreSQL commits", COMMITS_WAIT, fix)
    return ok("PostgreSQL commits", "confirmed")


async def _writable_again(connection: Connection, source: str) -> str:
    """Return the statements that make the database writable; they also work while it is read-only."""
    change = await change_of_setting(connection, "default_transaction_read_only", source, "off")
    return f"BEGIN READ WRITE; {change}; COMMIT;" if " RESET " in change else f"{change};"


async def _permissions(connection: Connection, settings: Settings) -> Finding:
    rows = await connection.fetch(_MISSING_PRIVILEGES, list(TABLES), list(_WANTED))
    if rows:
        missing = "; ".join(row[0] for row in rows)
        fix = f"GRANT them (docs/permissions.md), or let {settings.postgres_user!r} own the tables"
        return failed("PostgreSQL permissions", f"{settings.postgres_user!r} lacks {missing}", fix)
    return ok("PostgreSQL permissions", "complete")


async def _clock(connection: Connection) -> Finding:
    began_s = time.time()
    server_s = await fetch_time_s(connection)
    local_s = (began_s + time.time()) / 2
    difference_s = server_s - local_s
    if abs(difference_s) > MAX_CLOCK_DIFFERENCE_S:
        side = "ahead of" if difference_s > 0 else "behind"
        problem = f"PostgreSQL's clock is {abs(difference_s):.0f} s {side} this machine's"
        return failed(
            "PostgreSQL clock", problem, "synchronise both with NTP (heartbeats and lag are measured across them)"
        )
    return ok("PostgreSQL clock", f"within {MAX_CLOCK_DIFFERENCE_S:g} s of this machine's")
