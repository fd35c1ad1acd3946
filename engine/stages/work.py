"""What the writer has to write: records of some partitions, and by partition the offset behind all of them. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import attrs

from engine.kafka.partitions import PartitionTable
from engine.postgres.offsets import Advance, Fenced
from engine.records import Entry, HandledChunk, Record

T = TypeVar("T")


@attrs.frozen
class Work(Generic[T]):
    """Entries to write. A partition may have an end and no entry: only its offset moves.

    `openings` and `epochs` are those under which the entries were read, by partition.
    """

    entries: list[Entry[T]]
    ends: dict[int, int]
    openings: dict[int, int]
    epochs: dict[int, int]
    consumed_at: datetime
    validated_at: datetime

    @classmethod
    def of(cls, chunks: Sequence[HandledChunk[T]], table: PartitionTable) -> "Work[T]":
        """Return what the chunks hold of partitions that are still open as they were read."""
        current = [chunk for chunk in chunks if table.opened(chunk.partition, chunk.opening)]
        ends: dict[int, int] = {}
        for chunk in current:
            ends[chunk.partition] = max(chunk.next_offset, ends.get(chunk.partition, 0))
        return cls(
            [entry for chunk in sorted(current, key=lambda c: c.partition) for entry in chunk.entries],
            ends,
            {chunk.partition: chunk.opening for chunk in chunks},
            {chunk.partition: chunk.epoch for chunk in chunks},
            min((chunk.consumed_at for chunk in chunks), default=datetime.now(UTC)),
            datetime.now(UTC),
        )

    def owned(self, table: PartitionTable) -> "Work[T]":
        """Return what of it this worker may still write, and has not written yet."""
        floors = {
            partition: opened.next_offset
            for partition, opening in self.openings.items()
            if (opened := table.opened(partition, opening))
        }
        entries = [
            entry
            for entry in self.entries
            if (floor := floors.get(entry.record.partition)) is not None and entry.record.offset >= floor
        ]
        ends = {
            partition: end for partition, end in self.ends.items() if partition in floors and end > floors[partition]
        }
        return attrs.evolve(self, entries=entries, ends=ends)

    def halves(self) -> "tuple[Work[T], Work[T]]":
        """Return the first half of the entries, and the second, which keeps the ends."""
        middle = len(self.entries) // 2
        first, second = self.entries[:middle], self.entries[middle:]
        ends = {partition: record.offset + 1 for partition, record in _last_records(first).items()}
        return attrs.evolve(self, entries=first, ends=ends), attrs.evolve(self, entries=second)

    def advances(self, table: PartitionTable) -> list[Advance]:
        """Return how each partition's offset moves. Raises `Fenced` for one that is not open any more."""
        advances, last = [], _last_records(self.entries)
        for partition, end in self.ends.items():
            # A batch may have waited out an outage: the partition may have gone, and even have come back, meanwhile.
            opened = table.opened(partition, self.openings[partition])
            if opened is None:
                raise Fenced(partition)
            advances.append(Advance(partition, opened.next_offset, end, last.get(partition)))
        return advances


def _last_records(entries: list[Entry[Any]]) -> dict[int, Record]:
    return {entry.record.partition: entry.record for entry in entries}
