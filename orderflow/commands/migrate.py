"""`orderflow migrate`: waits for PostgreSQL, then applies what dbmate has not applied yet."""

import asyncio
import time

import asyncpg
import click

from orderflow.exits import CannotStart, Failed
from orderflow.help import Command
from orderflow.operating.dbmate import find_dbmate, run_dbmate
from orderflow.progress import say, tell_waiting
from orderflow.start.connections import postgres_options
from orderflow.start.migrations import latest_version, migrations_directory
from orderflow.start.preflight import refusal_of_postgres
from orderflow.start.settings import Settings, load_settings

_RETRY_S = 0.5


@click.command(
    cls=Command,
    examples={
        "orderflow migrate": "what is applied already stays as it is",
        "START_TIMEOUT_S=5 orderflow migrate": "wait 5 seconds for PostgreSQL, not 60",
    },
)
def migrate() -> None:
    """Wait for PostgreSQL, then bring the database to the newest schema.

    A missing database is created. dbmate does the work; the first time it may have to be downloaded (5 MB).
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
    """Return when PostgreSQL accepts a connection; a missing database counts as one, for dbmate creates it.

    Raises `CannotStart` when it refuses the login, `Failed` when nothing answers within `START_TIMEOUT_S`.
    """
    deadline = time.monotonic() + settings.start_timeout_s
    told = False
    while True:
        try:
            connection = await asyncpg.connect(**postgres_options(settings))
        except asyncpg.InvalidCatalogNameError:
            return
        except (OSError, asyncpg.PostgresError) as error:
            if refusal := refusal_of_postgres(settings, error):
                raise CannotStart(refusal) from None
            if time.monotonic() + _RETRY_S > deadline:
                raise Failed(
                    f"PostgreSQL did not answer on {settings.postgres_address} within "
                    f"{settings.start_timeout_s:g} s ({type(error).__name__}): check POSTGRES_HOST and POSTGRES_PORT"
                ) from None
            if not told:
                tell_waiting("PostgreSQL", str(settings.postgres_address), settings.start_timeout_s)
                told = True
            await asyncio.sleep(_RETRY_S)
        else:
            await connection.close()
            return
