"""What the cache writer tells PostgreSQL: what it has to, and nothing twice."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import attrs

from engine.actors.status import Status
from handlers.cache_bookkeeping import PendingChange
from handlers.cache_writer import CacheBatch, CacheWriter


class Cache:
    """A cache with room for everything."""

    async def put_many(self, *_: Any) -> int:
        return 0


@attrs.define
class Link:
    """A connection that keeps the notes and batches of each statement. While it is `down` there is none."""

    statements: list[tuple[list[UUID], list[UUID]]] = attrs.field(factory=list)
    down: bool = False

    @asynccontextmanager
    async def use(self) -> AsyncIterator["Link"]:
        if self.down:
            raise ConnectionRefusedError
        yield self

    async def execute(self, _sql: str, notes: list[UUID], batches: list[UUID], **_: Any) -> None:
        self.statements.append((notes, batches))


async def write(link: Link, writer: CacheWriter, batch_id: UUID, change: PendingChange | None = None) -> None:
    await writer._handle([CacheBatch(batch_id, [("uid", b"body")], change=change)])


async def test_an_id_that_batches_share_is_marked_once() -> None:
    """A trickle of new orders costs no statement for each of them."""
    link = Link()
    writer = CacheWriter(Cache(), link, Status())  # type: ignore[arg-type]
    first, shared = uuid4(), uuid4()
    for batch_id in (first, shared, shared, shared):
        await write(link, writer, batch_id)
    assert link.statements == [([], [first]), ([], [shared])]


async def test_a_note_is_deleted_whether_or_not_its_batch_is_marked() -> None:
    """Else the changed orders would be cached again and again."""
    link, shared = Link(), uuid4()
    writer = CacheWriter(Cache(), link, Status())  # type: ignore[arg-type]
    await write(link, writer, shared)
    change = PendingChange(uuid4(), shared, ["uid"])
    await write(link, writer, shared, change)
    assert link.statements[1:] == [([change.id], [])]


async def test_what_could_not_be_marked_is_marked_with_the_next_one() -> None:
    """PostgreSQL was away when the first batch of a shared id was cached."""
    link, shared = Link(down=True), uuid4()
    writer = CacheWriter(Cache(), link, Status())  # type: ignore[arg-type]
    await write(link, writer, shared)
    link.down = False
    await write(link, writer, shared)
    assert link.statements == [([], [shared])]
