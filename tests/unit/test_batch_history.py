"""Which batches have a row of their own, which share one, and what it says in the end."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import attrs
import pytest
from msgspec import json

from engine.actors.identity import Identity
from engine.postgres.batches import SHARED_S, SMALL, BatchHistory
from engine.postgres.link import Link
from engine.records import Batch, Entry, Written
from engine.verdict import Rejected
from tests.support.virtual_time import VirtualLoop


@attrs.frozen
class Message:
    """A record, as far as a batch's row needs it."""

    partition: int
    offset: int


@attrs.define
class Rows:
    """A connection that keeps what is written into the table, by batch. The first five values are the counts."""

    rows: dict[UUID, tuple[Any, ...]] = attrs.field(factory=dict)
    statements: int = 0

    async def execute(self, sql: str, batch_id: UUID, *values: Any) -> None:
        self.statements += 1
        assert (batch_id in self.rows) == sql.strip().startswith("UPDATE")
        self.rows[batch_id] = values

    def counts(self) -> list[tuple[int, ...]]:
        return [values[:5] for values in self.rows.values()]


@attrs.define
class Writer:
    """Writes batches of one partition, one after the other."""

    rows: Rows = attrs.field(factory=Rows)
    history: BatchHistory = attrs.field(
        factory=lambda: BatchHistory(Identity("group", "orders", "worker-0", "host"), Link({}), Link({}), 60)
    )
    next_offset: int = 0

    async def write(self, messages: int = 1, *, fails: bool = False, rejected: int = 0, opening: int = 1) -> UUID:
        now, offsets = datetime.now(UTC), range(self.next_offset, self.next_offset + messages)
        entries: list[Entry[Any]] = [
            Entry(Message(0, offset), Rejected("bad") if place < rejected else "order")  # type: ignore[arg-type]
            for place, offset in enumerate(offsets)
        ]
        batch: Batch[Any] = Batch(self.history.id_for(messages), "orders", now, now, entries, {0: 0})
        written = Written(inserted=messages - rejected)
        before = dict(self.rows.rows)
        await self.history.store(self.rows, batch, written, {0: opening})  # type: ignore[arg-type]
        if fails:
            self.rows.rows = before
        else:
            self.history.committed(batch, written, {0: opening})
            self.next_offset += messages
        return batch.batch_id


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


def test_batches_far_apart_have_a_row_each(loop: VirtualLoop) -> None:
    """At a rate at which that is no burden, every message has its own times."""

    async def check() -> None:
        writer = Writer()
        ids = []
        for _ in range(3):
            ids.append(await writer.write())
            await asyncio.sleep(SHARED_S)
        assert list(writer.rows.rows) == ids
        assert writer.rows.counts() == [(1, 1, 0, 0, 0)] * 3
        assert writer.rows.statements == 3

    loop.run(check())


def test_small_batches_that_follow_each_other_share_a_row(loop: VirtualLoop) -> None:
    """From the second on: its row gets the counts of those that come within a quarter of a second."""

    async def check() -> None:
        writer = Writer()
        first, second = await writer.write(), await writer.write()
        others = [await writer.write(2, rejected=1) for _ in range(5)]
        assert len({first, second}) == 2
        assert set(others) == {second}
        assert writer.rows.counts() == [(1, 1, 0, 0, 0)] * 2
        await asyncio.sleep(SHARED_S)
        third = await writer.write()
        assert third != second
        assert writer.rows.counts() == [(1, 1, 0, 0, 0), (11, 6, 0, 0, 5), (1, 1, 0, 0, 0)]
        assert writer.rows.statements == 4

    loop.run(check())


def test_a_large_batch_has_a_row_of_its_own(loop: VirtualLoop) -> None:
    """It is no burden, however quickly they follow each other."""

    async def check() -> None:
        writer = Writer()
        ids = [await writer.write(SMALL + 1) for _ in range(4)]
        assert len(set(ids)) == 4
        assert writer.rows.statements == 4

    loop.run(check())


def test_what_was_not_committed_is_not_counted(loop: VirtualLoop) -> None:
    """Neither a row that was rolled back, nor a batch that would have shared one."""

    async def check() -> None:
        writer = Writer()
        await writer.write()
        await writer.write()
        shared = await writer.write(fails=True)
        assert await writer.write(3) == shared
        await asyncio.sleep(SHARED_S)
        lost = await writer.write(fails=True)
        assert await writer.write() != lost
        assert writer.rows.counts() == [(1, 1, 0, 0, 0), (4, 4, 0, 0, 0), (1, 1, 0, 0, 0)]

    loop.run(check())


def test_offsets_under_different_openings_stand_apart(loop: VirtualLoop) -> None:
    """In between another worker may have had the partition."""

    async def check() -> None:
        writer = Writer()
        await writer.write(SMALL)
        await writer.write(2)
        await writer.write(2)
        writer.next_offset += 10
        shared = await writer.write(2, opening=2)
        await asyncio.sleep(SHARED_S)
        await writer.write()
        assert json.decode(writer.rows.rows[shared][5]) == [
            {"partition": 0, "first_offset": 100, "messages": 4, "last_offset": 103},
            {"partition": 0, "first_offset": 114, "messages": 2, "last_offset": 115},
        ]

    loop.run(check())
