"""Reads what a broker answered to a fetch: batches of records, the markers of transactions, and what is broken.

A batch is unpacked when its records are asked for, one batch at a time: a fetch of eight megabytes may hold gigabytes.

Format of a batch: Kafka's protocol guide, "Record Batch" (magic 2); what is older is read by aiokafka as well.
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
_OFFSET_AND_LAST = Struct(">q15xi")  # the first offset, and how far the last one is from it
_MAGIC_AT, _MODERN = 16, 2
_SMALLEST = 14  # an empty message of the oldest format, behind offset and length


class CorruptBatch(Exception):
    """The batch at `offset` cannot be read: its checksum is wrong, or its content is no batch.

    `inside` says that the offset may be in the middle of it: some of its records were read.
    """

    def __init__(self, offset: int, why: str, *, inside: bool = False) -> None:
        super().__init__(why)
        self.offset = offset
        self.inside = inside


class FetchedRecord(msgspec.Struct, frozen=True, gc=False):
    """A record as `engine.records.Record` describes it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Any


@attrs.frozen
class Piece:
    """Some records in the order of their offsets, their size in bytes, and the offset behind them.

    That is also behind what follows them and holds no record to consume: markers, and batches of aborted transactions.
    A piece may hold no record at all.
    """

    records: list[Any]
    size_bytes: int
    next_offset: int


@attrs.frozen
class FetchedPartition:
    """What a broker answered to a fetch of one partition at `position`.

    `aborted` are the transactions, as (producer, first offset), whose records do not count. `gaps` says that offsets
    may be missing between two batches: the topic is known to be compacted. Without it what lies behind such a gap is
    left for another fetch: only an answer to a fetch at exactly that offset shows that nothing is there. `end` is the
    log's, where it is known: no batch goes beyond it. `whole` says that a batch is known to end at `position`: none
    goes across it.
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
        """Whether the first batch begins behind the position that was asked for."""
        found = next(split_batches(self.data), None)
        claimed = None if found is None else claimed_offsets(found)
        return claimed is not None and claimed[0] > self.position

    def pieces(self, max_records: int, max_bytes: int) -> Iterator[Piece]:
        """Yield the records in pieces within both limits; a larger record stands alone. Raises `CorruptBatch`.

        What comes before a broken batch is yielded first.
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
            raise  # says nothing of the batch
        except CorruptBatch as error:
            broken = error
        except Exception as error:  # whatever a decoder makes of bytes that are no batch
            broken = CorruptBatch(position, type(error).__name__, inside=True)
        if records or position > self.position:
            yield Piece(records, size_bytes, position)
        if broken is not None:
            raise broken

    def _batches(self) -> Iterator[tuple[Iterable[Any], int]]:
        """Yield each batch's records that count, and the offset behind the batch."""
        position = self.position
        waiting, aborted = sorted(self.aborted, key=lambda one: one[1]), set()
        raws = list(split_batches(self.data))
        for number, raw in enumerate(raws, 1):
            batch, modern, first = open_batch(raw, position), _is_modern(raw), position == self.position
            # No checksum covers where a batch says that it begins.
            begin = batch.base_offset if modern else batch.next_offset - 1
            too_far = self.end is not None and batch.next_offset > self.end
            ahead = too_far or (modern and begin > position)
            if ahead and first and any(_holds(one, position) for one in raws[number:]):
                continue  # the position lies behind it, whatever it says: it was consumed, or left out, before
            if too_far and not first and number == len(raws):
                return  # the end was told before the batch was there: the next answer decides
            crosses_next = ahead and number < len(raws) and _begins_before(raws[number], batch.next_offset)
            # A fetch may begin in the middle of a batch, unless one is known to end there.
            overlaps = begin < position and (not first or (self.whole and position < batch.next_offset))
            if too_far or crosses_next or overlaps:
                raise CorruptBatch(position, "its offsets do not fit those around it")
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
    """Yield the bytes of each batch; the last one may be incomplete, and is left out then."""
    view, start = memoryview(data or b""), 0
    while len(view) - start >= _OFFSET_AND_LENGTH.size:
        _, length = _OFFSET_AND_LENGTH.unpack_from(view, start)
        end = start + _OFFSET_AND_LENGTH.size + length
        if length >= 0 and end > len(view):
            return
        yield view[start : max(end, start + _OFFSET_AND_LENGTH.size)]
        if length < _SMALLEST:
            return  # no batch is so short: where the next one begins cannot be known
        start = end


def open_batch(raw: memoryview, position: int) -> Any:
    """Return aiokafka's reader of a batch. Raises `CorruptBatch`, at `position`, if that cannot be read."""
    if len(raw) < _OFFSET_AND_LENGTH.size + _SMALLEST:
        raise CorruptBatch(position, "shorter than any batch")
    try:
        batch = DefaultRecordBatch(bytes(raw)) if _is_modern(raw) else LegacyRecordBatch(bytes(raw), raw[_MAGIC_AT])
        if batch.validate_crc():
            return batch
    except Exception as error:
        raise CorruptBatch(position, type(error).__name__) from error
    raise CorruptBatch(position, "wrong checksum")


def _aborts(batch: Any) -> bool:
    """Whether a batch is the marker of an abort. Compaction leaves a producer's last batch without its record."""
    marker = next(iter(batch), None)
    return marker is not None and marker.key is not None and ControlRecord.parse(marker.key) == ABORT_MARKER


def _is_modern(raw: memoryview) -> bool:
    return len(raw) > _MAGIC_AT and raw[_MAGIC_AT] >= _MODERN


def claimed_offsets(raw: memoryview) -> tuple[int, int] | None:
    """Return the first offset that a batch says it has, and the one behind its last; None of an older format.

    No checksum covers the first one.
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
