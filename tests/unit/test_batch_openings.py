"""A batch belongs to the opening under which it was fetched, however long it waits."""

from datetime import UTC, datetime

import attrs
import pytest

from engine.kafka.partitions import PartitionTable
from engine.postgres.offsets import Fenced
from engine.records import Entry
from engine.stages.work import Work
from handlers.prepared import PreparedOrder


@attrs.frozen
class Consumed:
    """A record, as far as an offset's step needs it."""

    offset: int
    partition: int = 0
    timestamp: int = 1_700_000_000_000
    value: bytes = b"x"


async def test_a_batch_of_an_earlier_opening_moves_no_offset() -> None:
    """The partition went to another worker during an outage, and came back further on: the old batch is fenced."""
    table = PartitionTable()
    table.assign({0})
    first = table.open(0, 100, 0)
    assert first is not None
    now = datetime.now(UTC)
    entries: list[Entry[PreparedOrder]] = [Entry(Consumed(offset), None) for offset in range(100, 200)]  # type: ignore[arg-type]
    work = Work(entries, {0: 203}, {0: first.opening}, {0: 0}, now, now)
    [advance] = work.advances(table)
    assert advance.last is not None
    assert (advance.expected, advance.last.offset, advance.next_offset) == (100, 199, 203)

    table.revoke({0})
    table.assign({0})
    table.open(0, 250, 0)
    with pytest.raises(Fenced):
        work.advances(table)
