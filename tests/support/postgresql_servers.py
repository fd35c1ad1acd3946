"""PostgreSQL servers of a test's own: other versions and builds than the embedded one, with settings of the test."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from orderflow.services import free_ports
from orderflow.services.postgresql import PostgreSQL, binaries
from orderflow.start.settings import parse_settings
from tests.support.hosts import THIS_MACHINE, Host

_DEBIAN = Path("/usr/lib/postgresql")
_NEIGHBOURS = """
host all all samenet scram-sha-256
host replication all samenet scram-sha-256
"""


class ConfiguredPostgreSQL(PostgreSQL):
    """PostgreSQL with additional lines in its configuration, on a host."""

    lines: Sequence[str] = ()
    _within: tuple[str, ...] = ()

    def place(self, host: Host) -> None:
        """Let it run on this host, and accept the logins of the hosts around it."""
        self.host, self._within = host.address, host.within

    async def prepare(self) -> None:
        """Write the lines after those of the service: of two lines for a setting, PostgreSQL uses the last."""
        await super().prepare()
        configuration = self.data / "orderflow.conf"
        configuration.write_text("\n".join([configuration.read_text(), *self.lines, ""]))
        logins = self.data / "pg_hba.conf"
        if self._within and _NEIGHBOURS not in logins.read_text():
            logins.write_text(logins.read_text() + _NEIGHBOURS)

    def command(self) -> list[str]:
        """Return the postmaster's command line."""
        return [*self._within, *super().command()]


@attrs.frozen
class PostgreSQLServer:
    """A running server, and the settings that name it. `service` stops, kills, freezes and starts it again."""

    service: ConfiguredPostgreSQL
    environment: Mapping[str, str]


def programs_of_the_wheel(major: int) -> Path:
    """Return the folder with the programs of PostgreSQL 16 or 18, which the embedded services' wheel has."""
    newest = binaries()
    return newest if newest.parent.name.endswith(str(major)) else newest.parents[1] / "pginstall" / "bin"


def debian_programs() -> Path | None:
    """Return the folder with the programs of Debian's newest PostgreSQL, which has JIT. None if there is none."""
    found = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


def require_debian_programs() -> Path:
    """Return the folder of `debian_programs`. Skips the test if there is none."""
    found = debian_programs()
    if found is None:
        pytest.skip("left out: this needs Debian's PostgreSQL (apt-get install postgresql)")
    return found


@asynccontextmanager
async def own_postgresql(
    directory: Path, *lines: str, programs: Path | None = None, port: int | None = None, on: Host = THIS_MACHINE
) -> AsyncIterator[PostgreSQLServer]:
    """Start a server on a free port, with an empty database, and stop it afterwards. `lines` are of its configuration.

    Its role is a superuser.
    """
    environment = {
        "POSTGRES_HOST": on.address,
        "POSTGRES_PORT": str(port or free_ports(1)[0]),
        "POSTGRES_DATABASE": "order_service",
        "POSTGRES_USER": "orderflow",
        "POSTGRES_PASSWORD": "orderflow",
    }
    service = ConfiguredPostgreSQL(directory / "postgresql", parse_settings(environment), programs=programs)
    service.lines = lines
    service.place(on)
    try:
        await service.start()
        yield PostgreSQLServer(service, environment)
    finally:
        await service.stop()
