"""The data that stages pass on: records, chunks of one partition, and batches of records with the handler's results."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import attrs
from msgspec import Struct

from engine.verdict import Rejected

T = TypeVar("T")
RECORD_OVERHEAD_BYTES = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_999  # the last millisecond of the year 9999
UNKNOWN_MS = -1
"""Kafka's timestamp for a record without a timestamp. It counts as the oldest."""


class Record(Protocol):
    """A Kafka record, with the attributes of aiokafka. `timestamp` is in milliseconds since 1970, or `UNKNOWN_MS`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Any


class Entry(Struct, Generic[T], frozen=True, gc=False):
    """One record and the result of `Handler.handle_message`."""

    record: Record
    value: T | Rejected


class Chunk(Struct, frozen=True, gc=False):
    """Records of one partition in the order of their offsets, fetched under one opening of that partition.

    `next_offset` is the offset after them. It is also after following offsets that have no record to consume, for
    example of a transaction marker. A chunk may have no records.
    """

    partition: int
    opening: int
    epoch: int
    records: list[Any]
    next_offset: int
    size_bytes: int
    consumed_at: datetime


class HandledChunk(Struct, Generic[T], frozen=True, gc=False):
    """A chunk after `Handler.handle_message` was called for each record. `rejected`: at least one was refused."""

    partition: int
    opening: int
    epoch: int
    entries: list[Entry[T]]
    rejected: bool
    next_offset: int
    size_bytes: int
    consumed_at: datetime


Place = tuple[int, int]
"""A record's partition and offset."""
HIGHEST_PARTITION, HIGHEST_OFFSET = 2**31 - 1, 2**63 - 1
"""The limits of Kafka's protocol and of the columns in PostgreSQL."""


class Origin(Struct, frozen=True, gc=False):
    """The origin of a message: topic, partition, offset and timestamp. It decides which of two messages is later.

    A topic that is deleted and created again starts at offset 0 again. Then its `epoch` is increased, and `offset`
    belongs to this epoch. `timestamp` is from Kafka, in milliseconds since 1970, or `UNKNOWN_MS`.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    epoch: int


@attrs.frozen
class Replay:
    """A record that is the `count`-th replay of a dead letter.

    - `letter`: the partition and offset of the dead letter
    - `origin`: the origin to compare versions by. None if the replay counts as a new message, because it was forced or
      its payload was `edited`
    - `subject`: the subject of the dead letter
    - `settles`: the group whose dead letter is settled by the verdict of this consumer. None if it settles no letter
    - `judged`: this consumer's group has its own dead letter of the same message
    """

    letter: Place
    count: int
    origin: Origin | None
    edited: bool
    subject: str | None
    settles: str | None
    judged: bool = False


@attrs.frozen
class Batch(Generic[T]):
    """The records of one transaction, by partition and offset. `epochs` has the epoch of the topic by partition.

    `replays` has the replays of dead letters among the records, by place.
    """

    batch_id: UUID
    topic: str
    consumed_at: datetime
    validated_at: datetime
    entries: list[Entry[T]]
    epochs: dict[int, int]
    replays: Mapping[Place, Replay] = attrs.field(factory=dict)

    def origin_of(self, record: Record) -> Origin:
        """Return the origin of a record. For a replay this is `Replay.origin`, unless that is None."""
        if self.replays:
            replay = self.replays.get((record.partition, record.offset))
            if replay is not None and replay.origin is not None:
                return replay.origin
        partition = record.partition
        return Origin(self.topic, partition, record.offset, bounded_ms(record.timestamp), self.epochs[partition])

    def accepted(self) -> list[tuple[Record, T]]:
        """Return the records that the handler accepted, with the values that it returned."""
        return [(entry.record, entry.value) for entry in self.entries if not isinstance(entry.value, Rejected)]

    def rejected(self) -> list[tuple[Record, Rejected]]:
        """Return the records that the handler refused, with the reasons."""
        return list(self._rejected)

    @cached_property
    def _rejected(self) -> list[tuple[Record, Rejected]]:
        # Several steps ask for them, and mostly there are none.
        return [(entry.record, entry.value) for entry in self.entries if isinstance(entry.value, Rejected)]


@attrs.frozen
class Written:
    """The result of writing a batch: how many keys were inserted, changed, or already stored with the same content.

    `follow_up` is a value for the handler itself. The engine passes it to `batch_committed`.
    """

    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    follow_up: Any = None


def by_partition(entries: Sequence[Entry[T]]) -> Iterator[Sequence[Entry[T]]]:
    """Yield the entries of each partition. `entries` must be sorted by partition, as they are in a batch."""
    start = 0
    while start < len(entries):
        partition = entries[start].record.partition
        end = bisect_right(entries, partition, start, key=lambda entry: entry.record.partition)
        yield entries[start:end]
        start = end


def record_time(record: Record) -> datetime:
    """Return when the record was produced, in UTC, as it is stored. See `time_of`."""
    return time_of(record.timestamp)


def bounded_ms(timestamp_ms: int) -> int:
    """Return milliseconds within the years 1970 to 9999, or `UNKNOWN_MS`. A producer may send any number."""
    return min(max(timestamp_ms, UNKNOWN_MS), _LAST_MS)


def time_of(timestamp_ms: int) -> datetime:
    """Return milliseconds as a time, with the limits of `bounded_ms`. `UNKNOWN_MS` becomes a time just before 1970.

    So an unknown time can be stored in a NOT NULL column, sorts before all others, and `known_time` recognises it.
    """
    return _EPOCH + timedelta(milliseconds=bounded_ms(timestamp_ms))


def ms_of(stored: datetime) -> int:
    """Return the milliseconds from which `time_of` made a time."""
    return round((stored - _EPOCH) / timedelta(milliseconds=1))


def known_time(stored: datetime) -> datetime | None:
    """Return a time from `time_of`, or None if the record had no timestamp."""
    return stored if stored >= _EPOCH else None


def weigh(record: Record) -> int:
    """Return the estimated memory of a record in bytes."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers) if record.headers else 0
    return len(record.value or b"") + len(record.key or b"") + headers + RECORD_OVERHEAD_BYTES
