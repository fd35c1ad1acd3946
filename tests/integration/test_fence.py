"""Whoever opened a partition last may move its offset, and nobody else."""

import asyncpg
import pytest

from engine.offsets import Advance, Fenced, StoredOffset, advance_offsets, open_offset
from tests.support.memory_kafka import Consumed

GROUP, TOPIC = "group", "orders"


async def opened(database: asyncpg.Connection) -> StoredOffset:
    return await open_offset(database, GROUP, TOPIC, 0, 0)


async def moved(database: asyncpg.Connection, owner: StoredOffset, messages: int = 5) -> None:
    last = Consumed(0, owner.next_offset + messages - 1, b"value")
    async with database.transaction():
        await advance_offsets(database, GROUP, TOPIC, [Advance(0, owner.next_offset, owner.fencing_token, last)])


async def test_a_zombie_cannot_move_an_offset_that_its_heir_has_not_moved_yet(database: asyncpg.Connection) -> None:
    """The offset is where the zombie expects it to be; but another worker has opened the partition since."""
    zombie, heir = await opened(database), await opened(database)
    assert zombie == heir
    with pytest.raises(Fenced):
        await moved(database, zombie)
    await moved(database, heir)
    assert (await opened(database)).next_offset == heir.next_offset + 5


async def test_an_offset_that_was_moved_is_not_moved_from_where_it_was(database: asyncpg.Connection) -> None:
    """The owner itself, with a batch whose COMMIT it did not hear of, is fenced by what it has done."""
    owner = await opened(database)
    await moved(database, owner)
    with pytest.raises(Fenced):
        await moved(database, owner)
