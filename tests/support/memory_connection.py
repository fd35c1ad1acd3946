"""The client side of `MemoryPostgres`: the part of asyncpg's connection that a worker uses."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import asyncpg
import attrs

from tests.support.memory_postgres import Backend, MemoryPostgres, Transaction


class Killed(BaseException):
    """Raised in a killed process at its next I/O."""


class Client:
    """A process that uses the services. While it is frozen, it neither sends nor receives anything."""

    def __init__(self) -> None:
        self._awake = asyncio.Event()
        self._awake.set()
        self._killed = False
        self._postponed: list[Callable[[], None]] = []

    @property
    def frozen(self) -> bool:
        """Whether the process is frozen."""
        return not self._awake.is_set()

    def freeze(self) -> None:
        """Freeze the process, as SIGSTOP does."""
        self._awake.clear()

    def wake(self) -> None:
        """Continue the process, as SIGCONT does."""
        self._awake.set()
        while self._postponed:
            self._postponed.pop(0)()

    def kill(self) -> None:
        """Kill the process, as SIGKILL does."""
        self._killed = True
        self._awake.set()

    async def passes(self) -> None:
        """Wait until the process is not frozen. Raises `Killed`."""
        await self._awake.wait()
        if self._killed:
            raise Killed

    def when_awake(self, act: Callable[[], None]) -> None:
        """Call `act` now, or as soon as the process continues. Never if it was killed."""
        if self.frozen:
            self._postponed.append(act)
        elif not self._killed:
            act()


async def connect(
    server: MemoryPostgres, client: Client, server_settings: dict[str, str] | None = None, **_: Any
) -> "MemoryConnection":
    """Connect, as `asyncpg.connect` does. There is no network whose options could be set."""
    await client.passes()
    lock_timeout_ms = float((server_settings or {}).get("lock_timeout", 0))
    return MemoryConnection(server, server.start(client, lock_timeout_ms / 1000), client)


class MemoryConnection:
    """A connection. It raises asyncpg's errors."""

    def __init__(self, server: MemoryPostgres, backend: Backend, client: Client) -> None:
        self._server = server
        self._client = client
        self.backend = backend

    def get_server_pid(self) -> int:
        """Return the process id of the backend."""
        return self.backend.pid

    def get_server_version(self) -> asyncpg.ServerVersion:
        """Return the version of the simulated server."""
        return asyncpg.ServerVersion(18, 0, 0, "final", 0)

    def is_closed(self) -> bool:
        """Return whether the connection is closed."""
        return self.backend.lost

    def is_in_transaction(self) -> bool:
        """Return whether a transaction is open."""
        return self.backend.transaction is not None

    def terminate(self) -> None:
        """Close the connection at once. If it was already lost, the server continues its current work."""
        self._client.when_awake(lambda: None if self.backend.lost else self._server.end(self.backend))

    async def close(self, **_: Any) -> None:
        """Close the connection."""
        await self._client.passes()
        self._server.end(self.backend)

    async def send(self) -> None:
        """Simulate the way of a message to the server. Raises asyncpg's errors if there is no connection."""
        await self._client.passes()
        if self.backend.lost:
            raise asyncpg.InterfaceError("connection is closed")
        await asyncio.sleep(self._server.latency_s)
        if self.backend.lost:
            raise asyncpg.ConnectionDoesNotExistError

    async def reply(self) -> None:
        """Simulate the way of the answer back."""
        await self._client.passes()

    async def execute(self, sql: str, *args: Any, **_: Any) -> Any:
        """Run a statement and return its command tag."""
        try:
            await self.send()
            return await self._server.run(self.backend, sql, args)
        finally:
            await self.reply()

    async def fetch(self, sql: str, *args: Any, **_: Any) -> list[Any]:
        """Run a statement and return its rows."""
        rows: list[Any] = await self.execute(sql, *args)
        return rows

    async def fetchrow(self, sql: str, *args: Any) -> Any:
        """Run a statement and return its first row, or None."""
        rows = await self.fetch(sql, *args)
        return rows[0] if rows else None

    async def fetchmany(self, sql: str, args: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Run a statement that moves offsets for each of the arguments. Returns a row for each that was moved."""
        try:
            await self.send()
            tags = {each[2]: await self._server.run(self.backend, sql, each) for each in args}
        finally:
            await self.reply()
        return [{"partition": partition} for partition, tag in tags.items() if tag == "UPDATE 1"]

    async def copy_records_to_table(self, table: str, *, records: Iterable[tuple[Any, ...]]) -> None:
        """Copy orders into the open transaction."""
        assert table == "orders"
        await self.send()
        self._server.copy(self.backend, records)
        await self.reply()

    def transaction(self) -> "MemoryTransaction":
        """Return a transaction that is not started yet."""
        return MemoryTransaction(self, self._server)


@attrs.frozen
class MemoryTransaction:
    """A transaction with asyncpg's interface."""

    _connection: MemoryConnection
    _server: MemoryPostgres

    async def start(self) -> None:
        """Begin."""
        await self._connection.send()
        backend = self._connection.backend
        backend.transaction = Transaction(backend.client)
        await self._connection.reply()

    async def commit(self) -> None:
        """Commit."""
        await self._connection.send()
        try:
            self._server.commit(self._connection.backend)
        finally:
            await self._connection.reply()

    async def rollback(self) -> None:
        """Roll back."""
        await self._connection.send()
        self._server.rollback(self._connection.backend)
        await self._connection.reply()

    async def __aenter__(self) -> None:
        await self.start()

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> None:
        await (self.commit() if error is None else self.rollback())
