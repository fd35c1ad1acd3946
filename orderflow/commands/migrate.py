"""`orderflow migrate`: waits for PostgreSQL, then applies what dbmate has not applied yet."""

import asyncio
import time

import asyncpg
import click

from orderflow.connections import postgres_options
from orderflow.dbmate import find_dbmate, run_dbmate
from orderflow.exits import CannotStart, Failed
from orderflow.migrations import latest_version, migrations_directory
from orderflow.preflight import refusal_of_postgres
from orderflow.settings import Settings, load_settings

_RETRY_S = 0.5


def _say(line: str) -> None:
    click.echo(line, err=True)


@click.command()
def migrate() -> None:
    """Wait for PostgreSQL, then bring the database to the newest schema."""
    asyncio.run(_migrate(load_settings()))


async def _migrate(settings: Settings) -> None:
    migrations = migrations_directory()
    program = await find_dbmate(_say)
    await wait_for_postgres(settings)
    url = settings.postgres_url()
    for line in await run_dbmate(program, url, migrations, "up", password=settings.postgres_password):
        _say(line)
    _say(f"The database {settings.postgres_database!r} is at version {latest_version()}")


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
                    f"PostgreSQL did not answer on {settings.postgres_host}:{settings.postgres_port} within "
                    f"{settings.start_timeout_s:g} s ({type(error).__name__}): check POSTGRES_HOST and POSTGRES_PORT"
                ) from None
            if not told:
                _say(f"Waiting for PostgreSQL on {settings.postgres_host}:{settings.postgres_port}")
                told = True
            await asyncio.sleep(_RETRY_S)
        else:
            await connection.close()
            return
