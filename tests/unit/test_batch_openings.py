"""A batch belongs to the opening under which it was fetched, however long it waits."""

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from engine.actors.backoff import Backoff
from engine.actors.identity import Identity
from engine.actors.status import Status
from engine.kafka.partitions import PartitionTable
from engine.postgres.batches import BatchHistory
from engine.postgres.blockers import BlockerWatch
from engine.postgres.link import Link
from engine.postgres.offsets import Fenced
from engine.records import Entry
from engine.stages.writer import BatchWriter, _Work
from handlers.cache_writer import CacheWriter
from handlers.order_handler import OrderHandler
from handlers.prepared import PreparedOrder


@attrs.frozen
class Consumed:
    """A record, as far as an offset's step needs it."""

    offset: int
    partition: int = 0
    timestamp: int = 1_700_000_000_000
    value: bytes = b"x"


def writer(table: PartitionTable) -> BatchWriter[PreparedOrder]:
    """Return a writer that has not connected to anything."""
    link, status = Link({}), Status()
    cache: Any = None
    handler = OrderHandler(CacheWriter(cache, link, status))
    identity = Identity("group", "orders", "worker-0", "host")
    return BatchWriter(
        identity=identity,
        handler=handler,
        link=link,
        history=BatchHistory(identity, link, link, kept_s=60),
        watch=BlockerWatch(link),
        table=table,
        status=status,
        backoff=Backoff(),
        dead_letters_stored=lambda: None,
    )


async def test_a_batch_of_an_earlier_opening_moves_no_offset() -> None:
    """The partition went to another worker during an outage, and came back further on: the old batch is fenced."""
    table = PartitionTable()
    table.assign({0})
    first = table.open(0, 100, 0)
    assert first is not None
    now = datetime.now(UTC)
    entries: list[Entry[PreparedOrder]] = [Entry(Consumed(offset), None) for offset in range(100, 200)]  # type: ignore[arg-type]
    work = _Work(entries, {0: 203}, {0: first.opening}, {0: 0}, now, now)
    [advance] = writer(table)._advances(work)
    assert advance.last is not None
    assert (advance.expected, advance.last.offset, advance.next_offset) == (100, 199, 203)

    table.revoke({0})
    table.assign({0})
    table.open(0, 250, 0)
    with pytest.raises(Fenced):
        writer(table)._advances(work)
