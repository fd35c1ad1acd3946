"""Fetched records are cut into chunks within both limits; nothing is lost and nothing overtakes."""

from datetime import UTC, datetime
from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.records import RECORD_OVERHEAD_BYTES, record_time, slice_records


@attrs.frozen
class Record:
    """As much of a Kafka record as these functions look at."""

    offset: int
    value: bytes | None = None
    key: bytes | None = None
    timestamp: int = 0
    topic: str = "orders"
    partition: int = 0
    headers: tuple[tuple[str, bytes | None], ...] = ()


def records_of(*sizes: int) -> list[Record]:
    """Return records that weigh as much as said, their overhead included."""
    return [Record(offset, b"x" * (size - RECORD_OVERHEAD_BYTES)) for offset, size in enumerate(sizes)]


def sliced(records: list[Record], max_records: int, max_bytes: int) -> list[tuple[list[int], int]]:
    return [([one.offset for one in piece], size) for piece, size in slice_records(records, max_records, max_bytes)]


def test_nothing_makes_no_chunk() -> None:
    """An empty chunk is never emitted."""
    assert sliced([], 10, 1000) == []


def test_chunks_hold_up_to_the_number_of_records() -> None:
    """The last one holds the rest."""
    assert sliced(records_of(*[100] * 5), 2, 10_000) == [([0, 1], 200), ([2, 3], 200), ([4], 100)]


def test_chunks_hold_up_to_the_number_of_bytes() -> None:
    """A chunk may be exactly full, and not a byte more."""
    assert sliced(records_of(400, 600, 401, 600), 10, 1000) == [([0, 1], 1000), ([2], 401), ([3], 600)]


def test_a_record_larger_than_a_chunk_stands_alone() -> None:
    """It has to go somewhere; its neighbours do not go with it."""
    assert sliced(records_of(200, 5000, 200, 200), 10, 1000) == [([0], 200), ([1], 5000), ([2, 3], 400)]


def test_keys_and_records_without_a_value_weigh_something_too() -> None:
    """A million tombstones are not weightless."""
    records = [Record(0), Record(1, key=b"k" * 7), Record(2, b"v" * 5, b"k")]
    assert sliced(records, 10, 10_000) == [([0, 1, 2], 3 * RECORD_OVERHEAD_BYTES + 13)]


def test_headers_weigh_as_much_as_a_value() -> None:
    """A producer may put its megabytes there."""
    records = [Record(offset, headers=(("trace", b"h" * 600), ("none", None))) for offset in range(2)]
    assert sliced(records, 10, 1000) == [([offset], RECORD_OVERHEAD_BYTES + 609) for offset in range(2)]


@given(
    sizes=st.lists(st.integers(RECORD_OVERHEAD_BYTES, 900), max_size=40),
    max_records=st.integers(1, 10),
    max_bytes=st.integers(1, 2000),
)
def test_every_record_is_in_exactly_one_chunk_within_the_limits(
    sizes: list[int], max_records: int, max_bytes: int
) -> None:
    """In order, no chunk empty, none too large unless alone, and none smaller than it had to be."""
    pieces = list(slice_records(records_of(*sizes), max_records, max_bytes))
    assert [one.offset for piece, _ in pieces for one in piece] == list(range(len(sizes)))
    for piece, size in pieces:
        assert size == sum(sizes[one.offset] for one in piece)
        assert len(piece) == 1 or (len(piece) <= max_records and size <= max_bytes)
        assert piece
    for (piece, size), (following, _) in pairwise(pieces):
        assert len(piece) == max_records or size + sizes[following[0].offset] > max_bytes


def test_a_record_tells_when_it_was_produced() -> None:
    """In UTC, to the millisecond; a record without a timestamp counts as of 1970."""
    assert record_time(Record(0, timestamp=1_769_860_800_123)) == datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)
    assert record_time(Record(0, timestamp=0)) == datetime(1970, 1, 1, tzinfo=UTC)
    assert record_time(Record(0, timestamp=-1)) == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("timestamp", [253_402_300_800_000, 1_769_860_800_123_000_000, 2**63 - 1])
def test_no_timestamp_of_a_producer_raises(timestamp: int) -> None:
    """Nanoseconds sent for milliseconds are bad data, and bad data must not end a worker."""
    assert record_time(Record(0, timestamp=timestamp)).year <= 9999
