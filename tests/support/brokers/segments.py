"""Damages what a stopped broker has on disk, as a failing disk does."""

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
    """A batch of records in a segment: the offsets of its first and last record, and where its bytes are."""

    first: int
    last: int
    start: int
    end: int


def newest_segment(broker: Broker, topic: str, partition: int) -> Path:
    """Return the file of a partition's newest records."""
    return max((broker.data / f"{topic}-{partition}").glob("*.log"))


def batches(segment: Path) -> Iterator[Batch]:
    """Yield the batches of a segment, in order (Kafka's message format 2)."""
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
    """Change the last byte of a partition's newest batch of several records, and return the batch.

    The broker must be down, and have stopped cleanly: one that was killed looks through its newest segments at its
    start, and cuts off what is broken.
    """
    segment, newest = _newest_batch(broker, topic, partition)
    _change(broker, segment, newest.end - 1, lambda byte: byte ^ 0xFF)
    return newest


def spoil_end(broker: Broker, topic: str, partition: int) -> Batch:
    """Let the newest batch of several records say that it ends one record earlier, and return it as it was.

    Whoever believes what it says of its end goes on with an offset that is in the middle of it. Another batch must be
    behind it: a broker that starts believes the last one, and puts the next record there.
    """
    segment, newest = _newest_batch(broker, topic, partition)
    assert newest.end < segment.stat().st_size, "nothing is behind the batch"
    lowest_byte = newest.start + _LAST_OFFSET_DELTA_AT + _DELTA.size - 1
    _change(broker, segment, lowest_byte, lambda byte: (byte - 1) % 256)
    return newest


def spoil_length(broker: Broker, topic: str, partition: int) -> Batch:
    """Let the newest batch of several records say that it is longer than it is, while the broker runs.

    From there on the broker does not find its way: asked for what is behind the batch, it has nothing to give.
    """
    segment, newest = _newest_batch(broker, topic, partition)
    _write(segment, newest.start, _HEAD.pack(newest.first, newest.end - newest.start - _HEAD.size + 1000))
    return newest


def spoil_offset(broker: Broker, topic: str, partition: int, by: int) -> Batch:
    """Let the newest batch of several records say that it begins `by` offsets further, while the broker runs."""
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
