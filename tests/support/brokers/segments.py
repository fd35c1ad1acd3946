"""Damages the files of a broker, as a failing disk does."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from tests.support.brokers.broker import Broker

_HEAD = struct.Struct(">qi")  # base offset, length of what follows
_LAST_OFFSET_DELTA_AT = 23
_DELTA = struct.Struct(">i")


@attrs.frozen
class Batch:
    """A batch of records in a segment: the offsets of its first and last record, and its position in the file."""

    first: int
    last: int
    start: int
    end: int


def newest_segment(broker: Broker, topic: str, partition: int) -> Path:
    """Return the newest segment file of a partition."""
    return max((broker.data / f"{topic}-{partition}").glob("*.log"))


def batches(segment: Path) -> Iterator[Batch]:
    """Yield the batches of a segment in order (Kafka's message format 2)."""
    data, start = segment.read_bytes(), 0
    while start + _HEAD.size < len(data):
        first, length = _HEAD.unpack_from(data, start)
        if length <= 0:
            return
        [delta] = _DELTA.unpack_from(data, start + _LAST_OFFSET_DELTA_AT)
        end = start + _HEAD.size + length
        yield Batch(first, first + delta, start, end)
        start = end


def spoil_last_byte(broker: Broker, topic: str, partition: int) -> Batch:
    """Change the last byte of the partition's newest batch with several records, and return the batch.

    The broker must have stopped cleanly. A broker that was killed checks its newest segments when it starts, and
    truncates corrupt ones.
    """
    segment, newest = _newest_batch(broker, topic, partition)
    _change(broker, segment, newest.end - 1, lambda byte: byte ^ 0xFF)
    return newest


def spoil_end(broker: Broker, topic: str, partition: int) -> Batch:
    """Change the header of the newest batch with several records: it then ends one record earlier.

    Returns the batch as it was before. A consumer that trusts the header continues at an offset in the middle of the
    batch. Another batch must follow: a broker that starts trusts the last batch, and appends the next record there.
    """
    segment, newest = _newest_batch(broker, topic, partition)
    assert newest.end < segment.stat().st_size, "nothing is behind the batch"
    lowest_byte = newest.start + _LAST_OFFSET_DELTA_AT + _DELTA.size - 1
    _change(broker, segment, lowest_byte, lambda byte: (byte - 1) % 256)
    return newest


def spoil_length(broker: Broker, topic: str, partition: int) -> Batch:
    """Change the header of the newest batch with several records, while the broker runs: it then seems to be longer.

    The broker cannot read past this batch: for a fetch from a later offset it returns nothing.
    """
    segment, newest = _newest_batch(broker, topic, partition)
    _write(segment, newest.start, _HEAD.pack(newest.first, newest.end - newest.start - _HEAD.size + 1000))
    return newest


def spoil_offset(broker: Broker, topic: str, partition: int, by: int) -> Batch:
    """Increase the base offset of the newest batch with several records by `by`, while the broker runs."""
    segment, newest = _newest_batch(broker, topic, partition)
    _write(segment, newest.start, _HEAD.pack(newest.first + by, newest.end - newest.start - _HEAD.size))
    return newest


def _newest_batch(broker: Broker, topic: str, partition: int) -> tuple[Path, Batch]:
    segment = newest_segment(broker, topic, partition)
    *_, newest = (batch for batch in batches(segment) if batch.last > batch.first)
    return segment, newest


def _change(broker: Broker, segment: Path, place: int, change: Callable[[int], int]) -> None:
    assert broker.pid is None, "a broker that runs has its records in memory too"
    with segment.open("rb") as file:
        file.seek(place)
        [byte] = file.read(1)
    _write(segment, place, bytes([change(byte)]))


def _write(segment: Path, place: int, data: bytes) -> None:
    with segment.open("r+b") as file:
        file.seek(place)
        file.write(data)
