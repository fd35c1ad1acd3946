"""A fake PostgreSQL server for tests without I/O: transactions, row locks and compare-and-set.

It supports only the statements that a worker sends. It evaluates their conditions and assignments, so a condition that
is missing in a statement has no effect here either. `tests/integration/test_offsets_on_postgres.py` compares it with
the real server. Clients connect with `tests.support.memory_connection`.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import asyncpg
import attrs
from msgspec import json

from engine.postgres.offsets import _ADVANCE, _PASS

Key = tuple[str, str, int]
"""The primary key of `consumed_offsets`: consumer group, topic, partition."""
Row = dict[str, Any]
PAUSED_AT = datetime(2026, 1, 1, tzinfo=UTC)
_KEY_COLUMNS = ("consumer_group", "topic", "partition")
_CONDITION = re.compile(r"(\w+) = \$(\d+)")
_ASSIGNMENT = re.compile(r"(\w+) = (?:\$(\d+)|(NULL)|stored\.(\w+) \+ \$(\d+))")


@attrs.define(eq=False)
class Transaction:
    """What a transaction of `client` has written and not yet committed.

    `writes` are the ids that it moved offsets with, `rows` those of batches that it wrote rows of.
    """

    client: object
    offsets: dict[Key, Row] = attrs.field(factory=dict)
    writes: list[Any] = attrs.field(factory=list)
    rows: list[Any] = attrs.field(factory=list)
    orders: list[tuple[Any, ...]] = attrs.field(factory=list)
    letters: list[tuple[int, int]] = attrs.field(factory=list)
    lock_timeout_s: float | None = None
    failed: bool = False
    savepoint: "Transaction | None" = None

    def copy(self) -> "Transaction":
        """Return what has been written so far, for a savepoint."""
        copied = {
            name: value.copy()
            for name, value in attrs.asdict(self, recurse=False).items()
            if isinstance(value, (dict, list))
        }
        return attrs.evolve(self, **copied)

    def return_to(self, savepoint: "Transaction") -> None:
        """Undo what was written after a savepoint."""
        kept = savepoint.copy()
        for name, value in attrs.asdict(kept, recurse=False).items():
            setattr(self, name, value)
        self.savepoint = savepoint


@attrs.define(eq=False)
class Backend:
    """The server side of a connection. If it is `lost`, nothing reaches the client any more.

    `late`: it runs a statement whose client has left. Its COMMIT is none that can be lost.
    """

    pid: int
    client: object
    lock_timeout_s: float
    lost: bool = False
    late: bool = False
    transaction: Transaction | None = None
    locks: set[Key] = attrs.field(factory=set)
    waits_for: Key | None = None


@attrs.define(eq=False)
class _Lock:
    holder: Backend
    queue: deque[tuple[Backend, "asyncio.Future[None]"]] = attrs.field(factory=deque)


@attrs.define(eq=False)
class MemoryPostgres:
    """The server. A statement takes `latency_s` to reach it. Calls `committed` for each committed transaction.

    `refuses` decides whether the data of an order is refused. `lost_commits` are clients whose connection is lost in
    the next COMMIT of a batch. The value is the number of seconds after which the server still commits; None: never.
    `pauses` are the paused partitions, -1 for all of them; `pauses_refused` is raised for a query of them.
    `late_statements` are clients whose connection is lost in the next joint statement, which begins so much later.
    """

    committed: Callable[[Transaction], None] = lambda _: None
    refuses: Callable[[tuple[Any, ...]], bool] = lambda _: False
    latency_s: float = 0.0
    down: bool = False
    offsets: dict[Key, Row] = attrs.field(factory=dict)
    pauses: set[int] = attrs.field(factory=set)
    pauses_refused: Exception | None = None
    lost_commits: dict[object, float | None] = attrs.field(factory=dict)
    late_statements: dict[object, float] = attrs.field(factory=dict)
    _late: set["asyncio.Task[None]"] = attrs.field(factory=set)
    _batches: set[Any] = attrs.field(factory=set)
    _backends: dict[int, Backend] = attrs.field(factory=dict)
    _locks: dict[Key, _Lock] = attrs.field(factory=dict)
    _started: int = 0

    def start(self, client: object, lock_timeout_s: float = 0.0) -> Backend:
        """Start a backend for a client. Raises `ConnectionRefusedError` while the server is down."""
        if self.down:
            raise ConnectionRefusedError
        self._started += 1
        backend = self._backends[self._started] = Backend(self._started, client, lock_timeout_s)
        return backend

    def go_down(self) -> None:
        """End all backends, and refuse connections until `come_back`."""
        self.down = True
        for backend in list(self._backends.values()):
            self.end(backend)

    def come_back(self) -> None:
        """Accept connections again. Committed data still exists."""
        self.down = False

    def end(self, backend: Backend) -> None:
        """End a backend and roll back its transaction. May be called twice."""
        backend.lost = True
        self._backends.pop(backend.pid, None)
        if backend.waits_for is not None:
            granted = self._leave_queue(backend)
            if not granted.done():
                granted.set_exception(asyncpg.ConnectionDoesNotExistError())
        self._release(backend)

    def end_all(self, client: object) -> None:
        """End all backends of a client, as its death does, except those with a COMMIT on its way."""
        for backend in [one for one in self._backends.values() if one.client is client and not one.lost]:
            self.end(backend)

    def locked_by(self, client: object) -> bool:
        """Return whether a transaction of the client holds a row lock."""
        return any(lock.holder.client is client for lock in self._locks.values())

    async def run(self, backend: Backend, sql: str, args: tuple[Any, ...]) -> Any:
        """Run one statement, in its own transaction if none is open. Returns a command tag or rows."""
        if sql.split()[:2] == ["WITH", "step"]:
            if (late_s := self.late_statements.pop(backend.client, None)) is not None:
                self._late.add(asyncio.ensure_future(self._run_late(self.start(backend.client), sql, args, late_s)))
                self.end(backend)
                raise asyncpg.ConnectionDoesNotExistError
            return await self._run_joined(backend, sql, args)
        own = backend.transaction or Transaction(backend.client)
        if sql == "ROLLBACK TO SAVEPOINT part":
            assert own.savepoint is not None
            own.return_to(own.savepoint)
            return "ROLLBACK"
        if own.failed:
            raise asyncpg.InFailedSQLTransactionError
        try:
            return await self._execute(backend, own, sql, args)
        except BaseException:
            own.failed = True
            raise
        finally:
            if backend.transaction is None and not backend.lost:
                self._finish(backend, own)

    async def _run_late(self, backend: Backend, sql: str, args: tuple[Any, ...], late_s: float) -> None:
        """Run a joint statement that waited in the socket of its backend when the client left."""
        backend.late = True
        await asyncio.sleep(late_s)
        with suppress(asyncpg.PostgresError):
            await self._run_joined(backend, sql, args)
        self.end(backend)

    async def _run_joined(self, backend: Backend, sql: str, args: tuple[Any, ...]) -> str:
        """Run a statement with a fence, one argument with orders, and perhaps a batch's row, and commit it."""
        group, topic, write_id, steps = args[:4]
        own = backend.transaction = Transaction(backend.client)
        try:
            for step in json.decode(steps):
                key, (partition, *move) = (group, topic, step["partition"]), step.values()
                sql_of_one = _ADVANCE if "last_offset" in step else _PASS
                if await self._execute(backend, own, sql_of_one, (*key, *move, write_id)) != "UPDATE 1":
                    raise asyncpg.UndefinedObjectError(f'no parameter "orderflow.fenced_{partition}"')
            self.copy(backend, args[4])
            self._write_rows(own, sql, args[5:])
        except BaseException:
            if not backend.lost:
                self.rollback(backend)
            raise
        self.commit(backend)
        return "SELECT 1"

    def _write_rows(self, own: Transaction, sql: str, args: tuple[Any, ...]) -> None:
        if "UPDATE batches" in sql:
            self._on_batches(own, "UPDATE", args[:8])
            args = args[8:]
        if "INSERT INTO batches" in sql:
            self._on_batches(own, "INSERT", args)

    async def _execute(self, backend: Backend, own: Transaction, sql: str, args: tuple[Any, ...]) -> Any:
        words = sql.split()
        if words[:3] == ["SET", "LOCAL", "lock_timeout"]:
            own.lock_timeout_s = float(words[4].strip("'s"))
            return "SET"
        if "batches" in words:
            return self._on_batches(own, words[0], args)
        if "consumed_offsets" not in words:
            return self._on_other_tables(own, words, args)
        return await self._on_offsets(backend, own, sql, args)

    async def _on_offsets(self, backend: Backend, own: Transaction, sql: str, args: tuple[Any, ...]) -> Any:
        words = sql.split()
        if "SKIP" in words or "unnest($3::int[]," in words:
            return await self._open_free(backend, own, sql, args)
        if words[0] == "INSERT":
            return await self._insert(backend, own, sql, args)
        row = await self._locked(backend, own, sql, args)
        if words[0] == "SELECT":
            columns = re.findall(r"\w+", sql.split("FROM", maxsplit=1)[0])[1:]
            return [] if row is None else [{column: row[column] for column in columns}]
        if row is not None:
            own.offsets[args[:3]] = moved = _assigned(row, sql, args)
            if moved["write_id"] not in own.writes:
                own.writes.append(moved["write_id"])
        return f"UPDATE {int(row is not None)}"

    def _on_batches(self, own: Transaction, verb: str, args: tuple[Any, ...]) -> Any:
        if verb == "SELECT":
            return [{"?column?": 1}] if args[0] in self._batches else []
        if verb == "DELETE":
            return "DELETE 0"  # none is old
        assert (args[0] in self._batches) == (verb == "UPDATE"), "a row is inserted once, and updated afterwards"
        if verb == "INSERT":
            own.rows.append(args[0])
        return f"{verb} 1"

    def _on_other_tables(self, own: Transaction, words: list[str], args: tuple[Any, ...]) -> Any:  # noqa: PLR0911
        match words:
            case ["SET", "LOCAL", *_]:
                return "SET"
            case ["SELECT", "1"] | ["SELECT", "WHERE", "pg_backend_pid()", *_]:
                return "SELECT 1"
            case ["INSERT", "INTO", "dead_letters", *_]:
                own.letters += zip(args[1], args[2], strict=True)
                return f"INSERT 0 {len(args[1])}"
            case ["SELECT", "partition,", "paused_at,", *_]:
                if self.pauses_refused is not None:
                    raise self.pauses_refused
                return [{"partition": each, "paused_at": PAUSED_AT, "paused_by": "operator"} for each in self.pauses]
            case ["SELECT", "partition,", "kafka_offset,", *_]:
                return []  # the outbox is always empty here
            case [*_, "SAVEPOINT", "part"]:
                own.savepoint = own.copy()
                return "SAVEPOINT"
            case ["SELECT", "string_agg(DISTINCT", *_]:
                return [{"names": None}]  # no constraint is deferred
            case ["WITH", "RECURSIVE", "blocking", *_]:
                silent = [one for one in self.all_blockers(args[0]) if one.waits_for is None]
                return [{"pid": one.pid, "done": self.end(one) is None} for one in silent]
        raise AssertionError(f"a statement that this fake does not support: {' '.join(words)}")

    def copy(self, backend: Backend, rows: Iterable[tuple[Any, ...]]) -> None:
        """Add orders in the open transaction. Raises `CheckViolationError` if one of them is refused."""
        transaction = backend.transaction
        assert transaction is not None
        for row in rows:
            if self.refuses(row):
                transaction.failed = True
                raise asyncpg.CheckViolationError
            transaction.orders.append(row)

    async def _insert(self, backend: Backend, own: Transaction, sql: str, args: tuple[Any, ...]) -> str:
        """Insert an offset's row, or apply the ON CONFLICT clause to the existing row."""
        key = args[:3]
        if key not in self.offsets:
            await self._acquire(backend, own, key)  # another transaction may be inserting it
        if key not in self.offsets:
            others = dict.fromkeys(("last_offset", "last_timestamp", "last_checksum", "write_id"))
            own.offsets[key] = dict(zip(_KEY_COLUMNS, key, strict=True)) | {"next_offset": args[3], "epoch": 0} | others
            return "INSERT 0 1"
        if "DO NOTHING" in sql:
            return "INSERT 0 0"
        await self._acquire(backend, own, key)
        own.offsets[key] = _assigned(self.offsets[key], sql, args)
        return "INSERT 0 1"

    async def _open_free(self, backend: Backend, own: Transaction, sql: str, args: tuple[Any, ...]) -> Any:
        """Insert the missing ones of many rows, or lock and return those that nobody else has locked."""
        if "SKIP" not in sql:
            for partition, earliest in zip(*args[2:], strict=True):
                await self._insert(backend, own, sql, (*args[:2], partition, earliest))
            return "INSERT"
        columns, rows = re.findall(r"\w+", sql.split("FROM", maxsplit=1)[0])[1:], []
        for partition in args[2]:
            key = (*args[:2], partition)
            row, lock = own.offsets.get(key) or self.offsets.get(key), self._locks.get(key)
            if row and (lock is None or lock.holder is backend):
                self._locks[key] = lock or _Lock(backend)
                backend.locks.add(key)
                rows.append(tuple(row[column] for column in columns))
        return rows

    async def _locked(self, backend: Backend, own: Transaction, sql: str, args: tuple[Any, ...]) -> Row | None:
        """Return the row of the statement, if it meets the conditions before and after it is locked."""
        conditions = _CONDITION.findall(sql.split("WHERE")[1])
        key = args[:3]

        def found() -> Row | None:
            row = own.offsets.get(key) or self.offsets.get(key)
            return row if row and all(row[column] == args[int(n) - 1] for column, n in conditions) else None

        if found() is not None and "UPDATE" in sql:
            await self._acquire(backend, own, key)
        return found()

    async def _acquire(self, backend: Backend, own: Transaction, key: Key) -> None:
        """Wait in the queue for the lock of a row. The lock is held until the transaction ends."""
        lock = self._locks.get(key)
        if lock is None:
            self._locks[key] = _Lock(backend)
        elif lock.holder is not backend:
            timeout_s = backend.lock_timeout_s if own.lock_timeout_s is None else own.lock_timeout_s
            place = (backend, asyncio.get_running_loop().create_future())
            lock.queue.append(place)
            backend.waits_for = key
            try:
                await asyncio.wait_for(place[1], timeout_s or None)
            except TimeoutError:
                raise asyncpg.LockNotAvailableError from None
            finally:
                if backend.waits_for is not None:  # else the lock was granted, or the backend has ended
                    self._leave_queue(backend)
        if backend.lost:  # ended after it had been given the lock: nobody would release what it locks now
            raise asyncpg.ConnectionDoesNotExistError
        backend.locks.add(key)

    def blockers(self, pid: int) -> list[Backend]:
        """Return the backends that directly block a backend: the one before it in the queue, or the lock's holder."""
        backend = self._backends.get(pid)
        if backend is None or backend.waits_for is None:
            return []
        lock = self._locks[backend.waits_for]
        first = lock.queue[0][0]
        return [lock.holder if first is backend else first]

    def all_blockers(self, pid: int) -> list[Backend]:
        """Return the backends that block a backend directly or indirectly."""
        found: list[Backend] = []
        waiting = [pid]
        while waiting:
            for blocker in self.blockers(waiting.pop()):
                if blocker not in found:
                    found.append(blocker)
                    waiting.append(blocker.pid)
        return found

    def _release(self, backend: Backend) -> None:
        backend.transaction = None
        for key in backend.locks:
            lock = self._locks[key]
            next_one = next((waiting for waiting, granted in lock.queue if not granted.done()), None)
            if next_one is None:
                for late, _ in lock.queue:
                    late.waits_for = None
                del self._locks[key]
                continue
            self._leave_queue(next_one).set_result(None)
            next_one.locks.add(key)
            lock.holder = next_one
        backend.locks.clear()

    def _leave_queue(self, backend: Backend) -> "asyncio.Future[None]":
        assert backend.waits_for is not None
        queue = self._locks[backend.waits_for].queue
        place = next(place for place in queue if place[0] is backend)
        queue.remove(place)
        backend.waits_for = None
        return place[1]

    def commit(self, backend: Backend) -> None:
        """Commit the backend's transaction. Raises `ConnectionResetError` if the connection is lost in this COMMIT."""
        transaction = backend.transaction
        assert transaction is not None
        can_be_lost = (transaction.orders or transaction.letters) and not backend.late
        if not can_be_lost or backend.client not in self.lost_commits:
            self._finish(backend, transaction)
            return
        after_s = self.lost_commits.pop(backend.client)
        backend.lost = True
        if after_s is None:
            self.end(backend)
        else:
            asyncio.get_running_loop().call_later(after_s, self._commit_late, backend, transaction)
        raise ConnectionResetError

    def _commit_late(self, backend: Backend, transaction: Transaction) -> None:
        if backend.pid in self._backends:
            self._finish(backend, transaction)
            self.end(backend)

    def rollback(self, backend: Backend) -> None:
        """Roll back the backend's transaction."""
        self._release(backend)

    def _finish(self, backend: Backend, transaction: Transaction) -> None:
        if not transaction.failed:
            self.offsets |= transaction.offsets
            self._batches.update(transaction.rows)
            self.committed(transaction)
        self._release(backend)


def _assigned(row: Row, sql: str, args: tuple[Any, ...]) -> Row:
    """Return the row after the statement's SET clause."""
    changed = dict(row)
    assignments = re.split("SET|WHERE", sql)[1]
    for column, number, null, added_to, addend in _ASSIGNMENT.findall(assignments):
        if number:
            changed[column] = args[int(number) - 1]
        elif null:
            changed[column] = None
        else:
            changed[column] = row[added_to] + args[int(addend) - 1]
    return changed
