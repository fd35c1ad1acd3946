"""Compare-and-set, row locks and openings on real PostgreSQL, step by step beside the stand-in of the unit tests."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import attrs
import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from engine.kafka.stored_offset import StoredOffset
from engine.postgres.offsets import Advance, Fenced, advance_offsets, has_landed, open_free_offsets, open_offset
from orderflow.operating.offset_reset import _RESET
from orderflow.start.connections import postgres_options
from orderflow.start.settings import Settings
from tests.support.memory_connection import Client, connect
from tests.support.memory_kafka import TOPIC, Consumed
from tests.support.memory_postgres import MemoryPostgres

GROUP = "group"
CLIENTS, PARTITIONS = 3, 2
PARTITION = st.integers(0, PARTITIONS - 1)
STEPS = st.dictionaries(PARTITION, st.tuples(st.sampled_from([0, 0, 0, 1, -1]), st.integers(1, 2)), min_size=1)
"""By partition, how far the expected offset is from the stored one, and by how many it is moved."""
MACHINE = hypothesis.settings(max_examples=30, stateful_step_count=30, deadline=None, report_multiple_bugs=False)
WAITS = "waits for a lock"
SETTLE_S = 8
_COLUMNS = ("partition", "next_offset", "last_offset", "last_timestamp", "last_checksum", "epoch", "write_id")
_STORED = f"SELECT {', '.join(_COLUMNS)} FROM consumed_offsets ORDER BY partition"
_WAITING = "SELECT pid FROM pg_locks WHERE NOT granted"
_GONE = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $1"


@attrs.define(eq=False)
class Side:
    """A client's connection to one of the two servers, its open transaction, and what it is doing there."""

    connector: Callable[[], Awaitable[Any]]
    connection: Any = None
    transaction: Any = None
    task: "asyncio.Task[Any] | None" = None
    name: str = ""
    partitions: set[int] = attrs.field(factory=set)

    async def connect(self) -> None:
        """Connect, with nothing begun."""
        self.connection, self.transaction = await self.connector(), None

    async def advance(self, steps: dict[int, tuple[int, int]], write_id: UUID) -> str:
        """Begin a transaction and move offsets in it. It stays open, unless it is fenced."""
        self.transaction = self.connection.transaction()
        await self.transaction.start()
        advances = [
            # One step moves over records, the other over what holds none: both are held to PostgreSQL.
            Advance(
                partition,
                expected,
                expected + by,
                Consumed(partition, expected + by - 1, b"value") if by % 2 else None,
            )
            for partition, (expected, by) in steps.items()
        ]
        try:
            await advance_offsets(self.connection, GROUP, TOPIC, advances, write_id)
        except Fenced as fence:
            await self.end(commit=False)
            return f"fenced in {fence.partition}"
        return "advanced"

    async def end(self, *, commit: bool) -> None:
        """End the transaction."""
        transaction, self.transaction = self.transaction, None
        await (transaction.commit() if commit else transaction.rollback())

    async def open(self, partition: int, earliest: int) -> StoredOffset:
        """Open a partition."""
        return await open_offset(self.connection, GROUP, TOPIC, partition, earliest)

    async def open_free(self, earliest: dict[int, int]) -> dict[int, StoredOffset]:
        """Open the partitions whose row nobody has locked."""
        return await open_free_offsets(self.connection, GROUP, TOPIC, earliest)

    async def landed(self, write_id: UUID, partition: int) -> bool:
        """Ask whether a transaction that moved this offset was committed."""
        return await has_landed(self.connection, GROUP, TOPIC, write_id, [partition])

    async def reset(self, partition: int, offset: int) -> str:
        """Reset an offset, as an operator does."""
        tag: str = await self.connection.execute(_RESET, GROUP, TOPIC, partition, offset, 1)
        return tag


class OffsetsOnPostgres(RuleBasedStateMachine):
    """Clients that open, advance, commit, roll back, reset and are cut off, beside each other on both servers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, watcher: asyncpg.Connection, real: list[Side]) -> None:
        super().__init__()
        self.loop, self.watcher, self.real = loop, watcher, real
        self.memory = MemoryPostgres()
        self.model = [Side(lambda: connect(self.memory, Client())) for _ in real]
        for side in self.model:
            self.loop.run_until_complete(side.connect())
        self.steps: dict[int, dict[int, tuple[int, int]]] = {}
        self.writes: list[UUID] = []

    def stored(self, partition: int) -> int:
        row = self.memory.offsets.get((GROUP, TOPIC, partition))
        return 0 if row is None else int(row["next_offset"])

    @property
    def free(self) -> list[int]:
        """The clients that are doing nothing."""
        return [number for number, side in enumerate(self.real) if side.task is None and side.transaction is None]

    @property
    def moving(self) -> list[int]:
        """The clients that have moved offsets in a transaction that is still open."""
        return [number for number, side in enumerate(self.real) if side.task is None and side.transaction is not None]

    def crowded(self, name: str, partitions: set[int]) -> bool:
        """Whether it would be a matter of chance who goes first: only advances wait for each other in turn."""
        waiting = [side for side in self.real if side.task is not None and side.partitions & partitions]
        return any(name != "advance" or side.name != "advance" for side in waiting)

    def start(self, number: int, name: str, partitions: set[int], *args: Any, **kwargs: Any) -> None:
        """Let a client do something on both servers, and see where that leads every client."""
        if self.crowded(name, partitions):
            return
        for side in (self.real[number], self.model[number]):
            side.name, side.partitions = name, partitions
            side.task = self.loop.create_task(getattr(side, name)(*args, **kwargs))
        self.compare()

    def compare(self) -> None:
        real, model = self.loop.run_until_complete(self._outcomes())
        assert real == model

    async def _outcomes(self) -> tuple[list[Any], list[Any]]:
        async with asyncio.timeout(SETTLE_S):
            waiting = await self._settled()
        for _ in range(50):
            await asyncio.sleep(0)
        outcomes = (
            [_outcome(side, side.connection.get_server_pid() in waiting) for side in self.real],
            [_outcome(side, side.connection.backend.waits_for is not None) for side in self.model],
        )
        for side in (*self.real, *self.model):
            if side.task is not None and side.task.done():
                side.task = None
        return outcomes

    async def _settled(self) -> set[int]:
        """Return who waits for a lock, once everybody else has done what he was at."""
        waiting: set[int] = set()
        while True:
            at_work = {
                side.task
                for side in self.real
                if side.task is not None and not side.task.done() and side.connection.get_server_pid() not in waiting
            }
            if not at_work:
                return waiting
            await asyncio.wait(at_work, timeout=0.002)
            waiting = {row["pid"] for row in await self.watcher.fetch(_WAITING)}

    @initialize(opened=st.sets(PARTITION))
    def begin(self, opened: set[int]) -> None:
        for partition in sorted(opened):
            self.start(0, "open", {partition}, partition, 0)

    @precondition(lambda self: self.free)
    @rule(data=st.data(), steps=STEPS)
    def advance(self, data: st.DataObject, steps: dict[int, tuple[int, int]]) -> None:
        number = data.draw(st.sampled_from(self.free))
        self.steps[number] = {
            partition: (self.stored(partition) + error, by) for partition, (error, by) in steps.items()
        }
        self.writes.append(uuid4())
        self.start(number, "advance", set(steps), self.steps[number], self.writes[-1])

    @precondition(lambda self: self.free and self.writes)
    @rule(data=st.data(), partition=PARTITION)
    def ask_for_a_commit(self, data: st.DataObject, partition: int) -> None:
        number, write_id = data.draw(st.sampled_from(self.free)), data.draw(st.sampled_from(self.writes))
        self.start(number, "landed", {partition}, write_id, partition)

    @precondition(lambda self: self.free)
    @rule(data=st.data(), partition=PARTITION, earliest=st.integers(0, 1))
    def open(self, data: st.DataObject, partition: int, earliest: int) -> None:
        self.start(data.draw(st.sampled_from(self.free)), "open", {partition}, partition, earliest)

    @precondition(lambda self: self.free)
    @rule(data=st.data(), earliest=st.dictionaries(PARTITION, st.integers(0, 1), min_size=1))
    def open_free(self, data: st.DataObject, earliest: dict[int, int]) -> None:
        """Nobody is waited for whose row is there, so it has no partitions that others could crowd."""
        self.start(data.draw(st.sampled_from(self.free)), "open_free", set(earliest), earliest)

    @precondition(lambda self: self.free)
    @rule(data=st.data(), partition=PARTITION, offset=st.integers(0, 3))
    def reset(self, data: st.DataObject, partition: int, offset: int) -> None:
        self.start(data.draw(st.sampled_from(self.free)), "reset", {partition}, partition, offset)

    @precondition(lambda self: self.moving)
    @rule(data=st.data(), commit=st.sampled_from([True, True, False]))
    def end(self, data: st.DataObject, commit: bool) -> None:
        self.start(data.draw(st.sampled_from(self.moving)), "end", set(), commit=commit)

    @precondition(lambda self: self.moving)
    @rule(data=st.data())
    def cut_off(self, data: st.DataObject) -> None:
        """Terminate the server's end of a connection in the middle of its transaction."""
        number = data.draw(st.sampled_from(self.moving))
        self.loop.run_until_complete(self._cut_off(self.real[number], self.model[number]))
        self.compare()

    async def _cut_off(self, real: Side, model: Side) -> None:
        pid = real.connection.get_server_pid()
        await self.watcher.execute("SELECT pg_terminate_backend($1)", pid)
        self.memory.end(model.connection.backend)
        async with asyncio.timeout(SETTLE_S):
            while not await self.watcher.fetchval(_GONE, pid):
                await asyncio.sleep(0.002)
        await real.connect()
        await model.connect()

    @invariant()
    def both_servers_hold_the_same(self) -> None:
        rows = self.loop.run_until_complete(self.watcher.fetch(_STORED))
        stored = sorted(self.memory.offsets.values(), key=lambda row: row["partition"])
        assert [dict(row) for row in rows] == [{column: row[column] for column in _COLUMNS} for row in stored]

    @invariant()
    def an_offset_that_is_being_moved_is_where_it_was_expected(self) -> None:
        """Whoever has moved an offset keeps it for himself until his transaction ends."""
        moving = [item for number in self.moving for item in self.steps[number].items()]
        assert len(moving) == len(dict(moving)), "nobody else is moving it"
        for partition, (expected, _) in moving:
            assert self.stored(partition) == expected

    def teardown(self) -> None:
        self.loop.run_until_complete(self._teardown())

    async def _teardown(self) -> None:
        async with asyncio.timeout(SETTLE_S):
            while busy := [side for side in (*self.real, *self.model) if side.task or side.transaction]:
                for side in busy:
                    if side.task is None:
                        await side.end(commit=False)
                    elif side.task.done():
                        side.task = None
                await asyncio.sleep(0.001)
        await self.watcher.execute("DELETE FROM consumed_offsets")


def _outcome(side: Side, waits: bool) -> Any:
    if side.task is None:
        return None
    if not side.task.done():
        return WAITS if waits else "is still at it"
    error = side.task.exception()
    return side.task.result() if error is None else type(error).__name__


def test_the_stand_in_does_what_postgresql_does(settings: Settings) -> None:
    """Every statement of every client ends, or waits, in both alike, and both hold the same in the end."""
    with asyncio.Runner() as runner:
        loop, options = runner.get_loop(), postgres_options(settings)
        watcher = Side(lambda: asyncpg.connect(**options))
        real = [Side(watcher.connector) for _ in range(CLIENTS)]
        for side in (watcher, *real):
            loop.run_until_complete(side.connect())
        run_state_machine_as_test(lambda: OffsetsOnPostgres(loop, watcher.connection, real), settings=MACHINE)
        for side in (watcher, *real):
            loop.run_until_complete(side.connection.close(timeout=5))


async def test_many_partitions_take_as_many_statements_as_one(settings: Settings) -> None:
    """To open them, and to move their offsets in a batch."""
    connection = await asyncpg.connect(**postgres_options(settings))
    try:
        # The first time asyncpg asks for the types, too.
        _, one, many = [await statements_for(connection, range(*ends)) for ends in ((0, 1), (1, 2), (2, 258))]
    finally:
        await connection.execute("DELETE FROM consumed_offsets")
        await connection.close(timeout=5)
    assert one == many


async def statements_for(connection: asyncpg.Connection, partitions: range) -> list[str]:
    """Open partitions, move their offsets by one, and return the statements that this took."""
    asked: list[str] = []

    def note(query: Any) -> None:
        asked.append(query.query)

    connection.add_query_logger(note)
    stored = await open_free_offsets(connection, GROUP, TOPIC, dict.fromkeys(partitions, 5))
    assert {partition: one.next_offset for partition, one in stored.items()} == dict.fromkeys(partitions, 5)
    steps = [Advance(partition, 5, 6, Consumed(partition, 5, b"value")) for partition in partitions]
    async with connection.transaction():
        await advance_offsets(connection, GROUP, TOPIC, steps, uuid4())
    connection.remove_query_logger(note)
    return asked
