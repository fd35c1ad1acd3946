"""A primary and its synchronous standby: two PostgreSQL servers of a test's own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import attrs

from orderflow.operating.dbmate import find_dbmate, run_dbmate
from orderflow.services import free_ports
from orderflow.services.service import fresh, run_tool, silent
from orderflow.start.connections import postgres_options
from orderflow.start.migrations import migrations_directory
from orderflow.start.settings import Settings, parse_settings
from tests.support.hosts import THIS_MACHINE, Host
from tests.support.postgresql_servers import ConfiguredPostgreSQL, own_postgresql

_REPLICATED = "SELECT sync_state = 'sync' FROM pg_stat_replication"


class Standby(ConfiguredPostgreSQL):
    """A standby, made from a copy of its primary. `promote` makes it the primary."""

    primary: ConfiguredPostgreSQL

    async def _initdb(self) -> None:
        unfinished = fresh(self.directory / "data.new")
        copy = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync", f"--pgdata={unfinished}"]
        await run_tool(
            "pg_basebackup",
            [
                *(*self._account.prefix, str(self.programs / "pg_basebackup"), *copy),
                *(f"--host={self.primary.host}", f"--port={self.primary.port}"),
                f"--username={self._settings.postgres_user}",
            ],
            user=self._account.user,
            group=self._account.group,
            environment={"PGPASSWORD": self._settings.postgres_password},
        )
        unfinished.rename(self.data)

    async def promote(self) -> None:
        """Let it take over, and wait until it accepts writes."""
        connection = await self._connect()
        assert await connection.fetchval("SELECT pg_promote()")
        await connection.close()


@attrs.frozen
class Pair:
    """A migrated primary whose commits wait for its standby. `environment` names the primary's database."""

    primary: ConfiguredPostgreSQL
    standby: Standby
    settings: Settings

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings of the primary, as environment variables."""
        settings = self.settings
        return {
            "POSTGRES_HOST": settings.postgres_host,
            "POSTGRES_PORT": str(settings.postgres_port),
            "POSTGRES_USER": settings.postgres_user,
            "POSTGRES_PASSWORD": settings.postgres_password,
            "POSTGRES_DATABASE": settings.postgres_database,
        }


@asynccontextmanager
async def postgresql_pair(
    directory: Path, hosts: tuple[Host, Host] = (THIS_MACHINE, THIS_MACHINE)
) -> AsyncIterator[Pair]:
    """Start a primary with the schema and a synchronous standby, and stop both afterwards.

    On two hosts both have the same port, as `POSTGRES_HOST` demands it of a list.
    """
    async with own_postgresql(directory / "primary", on=hosts[0]) as primary:
        settings = parse_settings(dict(primary.environment))
        await run_dbmate(await find_dbmate(silent), settings.postgres_url(), migrations_directory(), "up")
        port = free_ports(1)[0] if hosts[0] == hosts[1] else settings.postgres_port
        standby = Standby(
            directory / "standby" / "postgresql", parse_settings({**primary.environment, "POSTGRES_PORT": str(port)})
        )
        standby.primary = primary.service
        standby.place(hosts[1])
        (directory / "standby").mkdir()
        try:
            await standby.start()
            await set_synchronous(settings, "*")
            yield Pair(primary.service, standby, settings)
        finally:
            await standby.stop()


async def set_synchronous(settings: Settings, names: str) -> None:
    """Set `synchronous_standby_names`."""
    connection = await asyncpg.connect(**postgres_options(settings))
    await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
