"""`orderflow migrate`: waits for PostgreSQL, then applies the missing migrations with dbmate."""

import asyncio
import time

import click
from asyncpg import Connection

from engine.postgres.connecting import NoWritableHost, connect_to_one
from engine.postgres.errors import ERRORS, describe
from orderflow.exits import CannotStart, Failed
from orderflow.help import Command
from orderflow.operating.dbmate import APPLICATION, find_dbmate, run_dbmate
from orderflow.operating.migration import create_database, is_database_missing, migrate_alone
from orderflow.progress import report_newer_schema, report_waiting, say
from orderflow.start.connections import postgres_options
from orderflow.start.delays import describe_delay
from orderflow.start.migrations import migrations_directory
from orderflow.start.preflight import STANDBY, refusal_of_postgres
from orderflow.start.schema import Schema, read_schema
from orderflow.start.settings import Settings, load_settings
from orderflow.start.waiting import RETRY_DELAY_S


@click.command(
    cls=Command,
    examples={
        "orderflow migrate": "applied migrations are not repeated",
        "START_TIMEOUT_S=5 orderflow migrate": "wait 5 seconds for PostgreSQL, not 60",
    },
)
def migrate() -> None:
    """Wait for PostgreSQL, then bring the database to the newest schema.

    A missing database is created. Several commands may run at once: they take turns. It uses dbmate, which is
    downloaded the first time if it is missing (5 MB).
    """
    asyncio.run(_migrate(load_settings()))


async def _migrate(settings: Settings) -> None:
    migrations = migrations_directory()
    host, connection, schema = await _connect(settings)
    said: set[str] = set()

    def say_once(line: str) -> None:
        """Say which migration is applied: only once, although dbmate is called again while older engines stop."""
        if line not in said:
            say(line)
        said.add(line)

    async def apply() -> None:
        program = await find_dbmate(say)
        url, password = settings.postgres_url(host), settings.postgres_password
        await run_dbmate(
            program,
            url,
            migrations,
            "up",
            password=password,
            say=say,
            each_line=say_once,
            detail=lambda: describe_delay(settings, application=APPLICATION),
        )

    try:
        schema = await migrate_alone(connection, schema, settings.start_timeout_s, apply)
    except ERRORS as error:
        raise Failed(f"PostgreSQL failed: {describe(error)}: run `orderflow migrate` again") from None
    finally:
        connection.terminate()
    if schema.newer:
        report_newer_schema(schema.newer)
    say(f"The database {settings.postgres_database!r} is at version {max(schema.applied)}")


async def _connect(settings: Settings) -> tuple[str, Connection, Schema]:
    """Connect when PostgreSQL accepts connections and writes, and return the host, too. A missing database is created.

    Raises `CannotStart` when the login is refused or the database cannot be used, `Failed` after `START_TIMEOUT_S`.
    """
    address, limit_s = settings.postgres_address, settings.start_timeout_s
    standby = f"{STANDBY} ({address}; waited {limit_s:g} s)"
    deadline, waiting, created = time.monotonic() + limit_s, False, False
    while True:
        try:
            host, connection = await connect_to_one(settings.postgres_hosts, postgres_options(settings))
            schema = await _read(connection)
            if not (schema.standby and schema.missing):
                return host, connection, schema
            connection.terminate()
            problem = standby
        except NoWritableHost:
            problem = standby
        except ERRORS as error:
            if await is_database_missing(settings, error):
                problem = f"the database {settings.postgres_database!r} could not be created within {limit_s:g} s"
                first, created = not created, created or await create_database(settings)
                if created and first:
                    continue
            elif refusal := refusal_of_postgres(settings, error):
                raise CannotStart(refusal) from None
            else:
                problem = (
                    f"PostgreSQL did not answer on {address} within {limit_s:g} s ({type(error).__name__}): "
                    "check POSTGRES_HOST and POSTGRES_PORT"
                )
        if time.monotonic() + RETRY_DELAY_S > deadline:
            raise Failed(problem)
        if not waiting:
            report_waiting("PostgreSQL", str(address), limit_s)
            waiting = True
        await asyncio.sleep(RETRY_DELAY_S)


async def _read(connection: Connection) -> Schema:
    """Read the schema. Raises `CannotStart` if the database cannot be used. An error closes the connection."""
    try:
        schema = await read_schema(connection)
        if schema.unfit:
            raise CannotStart(schema.unfit)
    except BaseException:
        connection.terminate()
        raise
    return schema
