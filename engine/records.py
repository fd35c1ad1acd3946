"""What travels through a worker: chunks of records from one partition, then batches of what a handler made of them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import attrs

from engine.verdict import Rejected

T = TypeVar("T")
RECORD_OVERHEAD_BYTES = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_999  # the last millisecond of the year 9999
UNKNOWN_MS = -1
"""The timestamp of a record that has none, as Kafka writes it. It counts as the oldest."""


class Record(Protocol):
    """A Kafka record, as aiokafka gives it. `timestamp` is in milliseconds since 1970, or `UNKNOWN_MS`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Any


@attrs.frozen
class Entry(Generic[T]):
    """One record and what the handler made of it."""

    record: Record
    value: T | Rejected


@attrs.frozen
class Chunk:
    """Records of one partition in the order of their offsets, fetched under one opening of that partition.

    `next_offset` is behind them, and behind what follows them without a record to consume (a transaction's marker). A
    chunk may hold no record.
    """

    partition: int
    opening: int
    epoch: int
    records: list[Any]
    next_offset: int
    size_bytes: int
    consumed_at: datetime


@attrs.frozen
class HandledChunk(Generic[T]):
    """A chunk after the handler has looked at each of its records."""

    partition: int
    opening: int
    epoch: int
    entries: list[Entry[T]]
    next_offset: int
    size_bytes: int
    consumed_at: datetime


Place = tuple[int, int]
"""A record's partition and offset."""
HIGHEST_PARTITION, HIGHEST_OFFSET = 2**31 - 1, 2**63 - 1
"""The bounds of Kafka's protocol, and of PostgreSQL's columns."""


@attrs.frozen
class Origin:
    """Where a message counts as coming from when the later of two is told.

    `epoch` is the generation of the topic that `offset` counts in: it grows when the topic was created anew, and
    offsets began again. `timestamp` is Kafka's, in milliseconds since 1970, or `UNKNOWN_MS`.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    epoch: int


@attrs.frozen
class Replay:
    """What a record is that repeats a dead letter: which letter, for the `count`-th time, and what it competes as.

    `origin` is None when it competes as the new message that it also is: forced, or `edited` (another payload than the
    letter's). `subject` is what the letter is about. `settles` is the group whose letter this consumer's verdict
    settles; None when that is another group's affair. `judged` says that this consumer has a letter of its own of the
    same message.
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
    """What goes into one transaction. `epochs` gives, by partition, the generation of the topic it was read from.

    `replays` tells of those records, by their place, that repeat a dead letter.
    """

    batch_id: UUID
    topic: str
    consumed_at: datetime
    validated_at: datetime
    entries: list[Entry[T]]
    epochs: dict[int, int]
    replays: Mapping[Place, Replay] = attrs.field(factory=dict)

    def origin_of(self, record: Record) -> Origin:
        """Return where a record counts as coming from: its own place, but for a replay that competes as its letter."""
        place = (record.partition, record.offset)
        replay = self.replays.get(place) if self.replays else None
        if replay is not None and replay.origin is not None:
            return replay.origin
        return Origin(self.topic, *place, bounded_ms(record.timestamp), self.epochs[record.partition])

    def accepted(self) -> list[tuple[Record, T]]:
        """Return the records that the handler took, with what it made of them."""
        return [(entry.record, entry.value) for entry in self.entries if not isinstance(entry.value, Rejected)]

    def rejected(self) -> list[tuple[Record, Rejected]]:
        """Return the records that the handler refused, with the reasons."""
        return [(entry.record, entry.value) for entry in self.entries if isinstance(entry.value, Rejected)]


@attrs.frozen
class Written:
    """What a handler did with a batch: how many keys were new, changed, or the same as what was stored.

    `follow_up` is the handler's own: it comes back in `batch_committed`.
    """

    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    follow_up: Any = None


def record_time(record: Record) -> datetime:
    """Return when the record was produced, in UTC, as it is stored: `time_of` its timestamp."""
    return time_of(record.timestamp)


def bounded_ms(timestamp_ms: int) -> int:
    """Return Kafka's milliseconds within the years 1970 to 9999, or `UNKNOWN_MS`: a producer may send any number."""
    return min(max(timestamp_ms, UNKNOWN_MS), _LAST_MS)


def time_of(timestamp_ms: int) -> datetime:
    """Return Kafka's milliseconds as an instant, bounded as `bounded_ms` does; `UNKNOWN_MS` is just before 1970.

    So it can be stored where a time must be, sorts before all others, and is told from them by `known_time`.
    """
    return _EPOCH + timedelta(milliseconds=bounded_ms(timestamp_ms))


def ms_of(stored: datetime) -> int:
    """Return the milliseconds that `time_of` made an instant of."""
    return round((stored - _EPOCH) / timedelta(milliseconds=1))


def known_time(stored: datetime) -> datetime | None:
    """Return what `time_of` made, for people: None where the record had no timestamp."""
    return stored if stored >= _EPOCH else None


def weigh(record: Record) -> int:
    """Return how many bytes of memory a record counts as."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers) if record.headers else 0
    return len(record.value or b"") + len(record.key or b"") + headers + RECORD_OVERHEAD_BYTES
