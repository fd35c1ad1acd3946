"""`orderflow migrate`: waits for PostgreSQL, then applies the missing migrations with dbmate."""

import asyncio
import time

import asyncpg
import click

from engine.postgres.connecting import connect
from orderflow.exits import CannotStart, Failed
from orderflow.help import Command
from orderflow.operating.dbmate import find_dbmate, run_dbmate
from orderflow.progress import report_waiting, say
from orderflow.start.connections import postgres_options
from orderflow.start.migrations import latest_version, migrations_directory
from orderflow.start.preflight import refusal_of_postgres
from orderflow.start.settings import Settings, load_settings

_RETRY_S = 0.5


@click.command(
    cls=Command,
    examples={
        "orderflow migrate": "applied migrations are not repeated",
        "START_TIMEOUT_S=5 orderflow migrate": "wait 5 seconds for PostgreSQL, not 60",
    },
)
def migrate() -> None:
    """Wait for PostgreSQL, then bring the database to the newest schema.

    A missing database is created. It uses dbmate, which is downloaded the first time if it is missing (5 MB).
    """
    asyncio.run(_migrate(load_settings()))


async def _migrate(settings: Settings) -> None:
    migrations = migrations_directory()
    program = await find_dbmate(say)
    await wait_for_postgres(settings)
    url = settings.postgres_url()
    for line in await run_dbmate(program, url, migrations, "up", password=settings.postgres_password):
        say(line)
    say(f"The database {settings.postgres_database!r} is at version {latest_version()}")


async def wait_for_postgres(settings: Settings) -> None:
    """Return when PostgreSQL accepts a connection. A missing database is no error: dbmate creates it.

    Raises `CannotStart` when the login is refused, `Failed` without an answer within `START_TIMEOUT_S`.
    """
    deadline = time.monotonic() + settings.start_timeout_s
    reported = False
    while True:
        try:
            connection = await connect(**postgres_options(settings))
        except asyncpg.InvalidCatalogNameError:
            return
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if refusal := refusal_of_postgres(settings, error):
                raise CannotStart(refusal) from None
            if time.monotonic() + _RETRY_S > deadline:
                raise Failed(
                    f"PostgreSQL did not answer on {settings.postgres_address} within "
                    f"{settings.start_timeout_s:g} s ({type(error).__name__}): check POSTGRES_HOST and POSTGRES_PORT"
                ) from None
            if not reported:
                report_waiting("PostgreSQL", str(settings.postgres_address), settings.start_timeout_s)
                reported = True
            await asyncio.sleep(_RETRY_S)
        else:
            await connection.close()
            return
