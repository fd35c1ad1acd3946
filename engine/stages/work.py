"""The entries that the writer must write, and the next offset of each partition. Pure state, no I/O."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import attrs

from engine.kafka.partitions import PartitionTable
from engine.postgres.offsets import Advance, Fenced
from engine.records import Entry, HandledChunk, Record, by_partition

T = TypeVar("T")


@attrs.frozen
class Work(Generic[T]):
    """Entries to write, sorted by partition and offset.

    `ends` has the next offset by partition: the offset after the last entry, or after a later transaction marker. A
    partition may have an end but no entry. Then only its offset moves. `openings` and `epochs` have the opening and the
    topic's epoch under which the entries were read, by partition.
    """

    entries: list[Entry[T]]
    ends: dict[int, int]
    openings: dict[int, int]
    epochs: dict[int, int]
    consumed_at: datetime
    validated_at: datetime

    @classmethod
    def of(cls, chunks: Sequence[HandledChunk[T]], table: PartitionTable) -> "Work[T]":
        """Return the work of these chunks. Chunks from an earlier opening of their partition are dropped."""
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
        """Return the part that this worker still owns and has not written yet."""
        floors = {
            partition: opened.next_offset
            for partition, opening in self.openings.items()
            if (opened := table.opened(partition, opening))
        }
        entries: list[Entry[T]] = []
        for part in by_partition(self.entries):
            floor = floors.get(part[0].record.partition)
            if floor is not None:
                entries += part[bisect_left(part, floor, key=lambda entry: entry.record.offset) :]
        ends = {
            partition: end for partition, end in self.ends.items() if partition in floors and end > floors[partition]
        }
        if len(entries) == len(self.entries) and len(ends) == len(self.ends):
            return self
        return attrs.evolve(self, entries=entries, ends=ends)

    def pieces(self, size: int) -> "list[Work[T]]":
        """Return the work in pieces of up to `size` entries, in their order. The last piece keeps the ends."""
        pieces, rest = [], self
        while len(rest.entries) > size:
            piece, rest = rest.split(size)
            pieces.append(piece)
        return [*pieces, rest]

    def split(self, size: int) -> "tuple[Work[T], Work[T]]":
        """Return the first `size` entries, and the other entries with the ends."""
        first, second = self.entries[:size], self.entries[size:]
        ends = {partition: record.offset + 1 for partition, record in _last_records(first).items()}
        return attrs.evolve(self, entries=first, ends=ends), attrs.evolve(self, entries=second)

    def offsets(self) -> dict[int, list[int]]:
        """Return the first and the last offset of the entries by partition."""
        offsets: dict[int, list[int]] = {}
        for part in by_partition(self.entries):
            offsets[part[0].record.partition] = [part[0].record.offset, part[-1].record.offset]
        return offsets

    def advances(self, table: PartitionTable) -> list[Advance]:
        """Return the offset move of each partition. Raises `Fenced` if a partition is no longer open."""
        advances, last = [], _last_records(self.entries)
        for partition, end in self.ends.items():
            # During an outage the partition may have been revoked, and even have been assigned again.
            opened = table.opened(partition, self.openings[partition])
            if opened is None:
                raise Fenced(partition)
            advances.append(Advance(partition, opened.next_offset, end, last.get(partition)))
        return advances


def _last_records(entries: list[Entry[Any]]) -> dict[int, Record]:
    return {part[-1].record.partition: part[-1].record for part in by_partition(entries)}
