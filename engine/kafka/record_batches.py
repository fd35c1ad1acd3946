"""Reads the response to a fetch: batches of records and transaction markers. Detects corrupt batches.

Batches are decompressed one at a time, only when their records are needed, because a response of eight megabytes can
contain gigabytes.

Kafka's protocol guide describes the format in "Record Batch" (magic 2). aiokafka also reads the older formats.
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Any

import attrs
import msgspec
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from engine.kafka.odd_headers import tolerant
from engine.records import weigh

_OFFSET_AND_LENGTH = Struct(">qi")
_OFFSET_AND_LAST = Struct(">q15xi")  # the first offset, and the difference to the last offset
_MAGIC_AT, _MODERN = 16, 2
_SMALLEST = 14  # an empty message of the oldest format, without its offset and length


class CorruptBatch(Exception):
    """The batch at `offset` cannot be read: its checksum is wrong, or its content is not a valid batch.

    `inside` means that `offset` may be in the middle of the batch, because some of its records were read.
    """

    def __init__(self, offset: int, why: str, *, inside: bool = False) -> None:
        super().__init__(why)
        self.offset = offset
        self.inside = inside


class FetchedRecord(msgspec.Struct, frozen=True, gc=False):
    """A record with the attributes of `engine.records.Record`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Any


@attrs.frozen
class Piece:
    """Some records in the order of their offsets, their size in bytes, and the next offset after them.

    `next_offset` is also after following offsets that have no record to consume: transaction markers, and batches of
    aborted transactions. A piece may have no records.
    """

    records: list[Any]
    size_bytes: int
    next_offset: int


@attrs.frozen
class FetchedPartition:
    """The response to a fetch of one partition at `position`.

    - `aborted`: the aborted transactions, as (producer id, first offset). Their records are left out
    - `gaps`: the topic is known to be compacted, so offsets may be missing between two batches. If this is False, the
      batches after a gap are not read: only a fetch at exactly the missing offset shows that it has no record
    - `end`: the log end offset, None if unknown. No batch can be beyond it
    - `whole`: a batch is known to end at `position`. So no batch can begin before `position` and end after it
    """

    topic: str
    partition: int
    position: int
    data: Any
    aborted: tuple[tuple[int, int], ...] = ()
    gaps: bool = False
    end: int | None = None
    whole: bool = False

    @property
    def skips(self) -> bool:
        """Whether the first batch begins after the requested position."""
        found = next(split_batches(self.data), None)
        claimed = None if found is None else claimed_offsets(found)
        return claimed is not None and claimed[0] > self.position

    def pieces(self, max_records: int, max_bytes: int) -> Iterator[Piece]:
        """Yield the records in pieces within both limits. A larger record is yielded alone. Raises `CorruptBatch`.

        The records before a corrupt batch are yielded first.
        """
        records: list[Any] = []
        size_bytes, position, broken = 0, self.position, None
        try:
            for batch, next_offset in self._batches():
                for record in batch:
                    weight = weigh(record)
                    if records and (len(records) >= max_records or size_bytes + weight > max_bytes):
                        yield Piece(records, size_bytes, position)
                        records, size_bytes = [], 0
                    records.append(record)
                    size_bytes += weight
                    position = record.offset + 1
                position = next_offset
        except MemoryError:
            raise  # this does not mean that the batch is corrupt
        except CorruptBatch as error:
            broken = error
        except Exception as error:  # decoders raise various errors for bytes that are not a batch
            broken = CorruptBatch(position, type(error).__name__, inside=True)
        if records or position > self.position:
            yield Piece(records, size_bytes, position)
        if broken is not None:
            raise broken

    def _batches(self) -> Iterator[tuple[Iterable[Any], int]]:
        """Yield the records to consume of each batch, and the next offset after the batch."""
        position = self.position
        waiting, aborted = sorted(self.aborted, key=lambda one: one[1]), set()
        raws = list(split_batches(self.data))
        for number, raw in enumerate(raws, 1):
            batch, modern, first = open_batch(raw, position), _is_modern(raw), position == self.position
            # The checksum does not cover the first offset of a batch.
            begin = batch.base_offset if modern else batch.next_offset - 1
            too_far = self.end is not None and batch.next_offset > self.end
            ahead = too_far or (modern and begin > position)
            if ahead and first and any(_holds(one, position) for one in raws[number:]):
                continue  # its offsets are wrong: a later batch has the position, so this one was already consumed
            if too_far and not first and number == len(raws):
                return  # the batch may have been written after the end was read: the next response decides
            crosses_next = ahead and number < len(raws) and _begins_before(raws[number], batch.next_offset)
            # A fetch may begin in the middle of a batch, unless a batch is known to end at this position.
            overlaps = begin < position and (not first or (self.whole and position < batch.next_offset))
            if too_far or crosses_next or overlaps:
                raise CorruptBatch(position, "its offsets do not match the batches around it or the end of the log")
            if modern:
                if begin > position and not first and not self.gaps:
                    return
                while waiting and waiting[0][1] <= begin:
                    aborted.add(waiting.pop(0)[0])
                if batch.is_control_batch and _aborts(batch):
                    aborted.discard(batch.producer_id)
                left_out = batch.is_control_batch or (batch.is_transactional and batch.producer_id in aborted)
            else:
                left_out = False
            if batch.next_offset <= position:
                continue
            yield () if left_out else self._records(batch, raw, position), batch.next_offset
            position = batch.next_offset

    def _records(self, batch: Any, raw: Any, position: int) -> Iterator[Any]:
        topic, partition = self.topic, self.partition
        for one in tolerant(batch, raw):
            if one.offset >= position:
                yield FetchedRecord(topic, partition, one.offset, one.timestamp, one.key, one.value, tuple(one.headers))


def split_batches(data: Any) -> Iterator[memoryview]:
    """Yield the bytes of each batch. If the last batch is incomplete, it is left out."""
    view, start = memoryview(data or b""), 0
    while len(view) - start >= _OFFSET_AND_LENGTH.size:
        _, length = _OFFSET_AND_LENGTH.unpack_from(view, start)
        end = start + _OFFSET_AND_LENGTH.size + length
        if length >= 0 and end > len(view):
            return
        yield view[start : max(end, start + _OFFSET_AND_LENGTH.size)]
        if length < _SMALLEST:
            return  # no batch is so short, so the start of the next batch is unknown
        start = end


def open_batch(raw: memoryview, position: int) -> Any:
    """Return aiokafka's reader of a batch. If the batch cannot be read, raises `CorruptBatch` with `position`."""
    if len(raw) < _OFFSET_AND_LENGTH.size + _SMALLEST:
        raise CorruptBatch(position, "shorter than any batch")
    try:
        batch = DefaultRecordBatch(raw) if _is_modern(raw) else LegacyRecordBatch(bytes(raw), raw[_MAGIC_AT])
        if batch.validate_crc():
            return batch
    except Exception as error:
        raise CorruptBatch(position, type(error).__name__) from error
    raise CorruptBatch(position, "wrong checksum")


def _aborts(batch: Any) -> bool:
    """Return whether a control batch is an abort marker. It may be empty, because compaction removes its record."""
    marker = next(iter(batch), None)
    return marker is not None and marker.key is not None and ControlRecord.parse(marker.key) == ABORT_MARKER


def _is_modern(raw: memoryview) -> bool:
    return len(raw) > _MAGIC_AT and raw[_MAGIC_AT] >= _MODERN


def claimed_offsets(raw: memoryview) -> tuple[int, int] | None:
    """Return the first offset of a batch and the next offset after it, from its header. None for an older format.

    The checksum does not cover the first offset.
    """
    if not _is_modern(raw) or len(raw) < _OFFSET_AND_LAST.size:
        return None
    first, distance = _OFFSET_AND_LAST.unpack_from(raw)
    return first, first + distance + 1


def _holds(raw: memoryview, offset: int) -> bool:
    claimed = claimed_offsets(raw)
    return claimed is not None and claimed[0] <= offset < claimed[1]


def _begins_before(raw: memoryview, offset: int) -> bool:
    claimed = claimed_offsets(raw)
    return claimed is not None and claimed[0] < offset
