"""PgBouncer servers of a test's own, in front of a PostgreSQL server, with the configuration that Debian installs."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from orderflow.services import free_ports
from orderflow.services.account import Account, account_for
from orderflow.services.service import Service
from orderflow.start.settings import Settings, parse_settings
from tests.support.installed import require_program


class PgBouncer(Service):
    """One PgBouncer for all databases of a server. Only addresses, the user and the mode differ from the defaults."""

    title = "PgBouncer"
    variable = "POSTGRES_PORT"
    stop_signal = signal.SIGINT

    def __init__(self, directory: Path, port: int, program: Path, server: Settings, mode: str) -> None:
        super().__init__(directory, port)
        self._program = program
        self._server = server
        self._mode = mode
        self._account = Account()

    async def prepare(self) -> None:
        """Write the configuration and the list of users."""
        server = self._server
        users = self.directory / "userlist.txt"
        users.write_text(f'"{server.postgres_user}" "{server.postgres_password}"\n')
        (self.directory / "pgbouncer.ini").write_text(f"""\
[databases]
* = host={server.postgres_host} port={server.postgres_port}
[pgbouncer]
pool_mode = {self._mode}
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = md5
auth_file = {users}
""")
        self._account = account_for(self.directory, self._program)

    def command(self) -> list[str]:
        """Return the command line."""
        return [*self._account.prefix, str(self._program), str(self.directory / "pgbouncer.ini")]

    def account(self) -> tuple[int | None, int | None]:
        """Return the user and group ids to run as, because PgBouncer refuses to run as root."""
        return self._account.user, self._account.group

    async def answers(self) -> bool:
        """Return whether it accepts connections."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


@asynccontextmanager
async def own_pgbouncer(directory: Path, environment: Mapping[str, str], mode: str) -> AsyncIterator[dict[str, str]]:
    """Start PgBouncer before the server that `environment` names, and provide the settings that lead through it.

    `mode` is "session", "transaction" or "statement".
    """
    program, port = require_program("pgbouncer", "PgBouncer"), free_ports(1)[0]
    service = PgBouncer(directory / mode / "pgbouncer", port, program, parse_settings(environment), mode)
    try:
        await service.start()
        yield {**environment, "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(port)}
    finally:
        await service.stop()
