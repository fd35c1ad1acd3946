"""What a broker answered to a fetch is read as it is: nothing lost, nothing made up, and every offset accounted for."""

from contextlib import suppress
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kafka.record_batches import CorruptBatch, FetchedPartition, Piece
from engine.records import RECORD_OVERHEAD_BYTES, weigh
from tests.support.odd_headers import Record, builder
from tests.support.record_batches import batch, marker, spoilt, with_checksum

MANY, LARGE = 1000, 1 << 30
PRODUCER, OTHER = 7, 8
ZSTD = 4
_BYTES = st.one_of(st.none(), st.binary(max_size=20))
_HEADERS = st.lists(st.tuples(st.one_of(st.just(b"trace"), st.binary(max_size=6)), _BYTES), max_size=3)
_RECORDS = st.lists(st.tuples(_BYTES, _BYTES, _HEADERS), min_size=1, max_size=8)


def fetched(position: int, *batches: bytes, aborted: Any = (), gaps: bool = False) -> FetchedPartition:
    return FetchedPartition("orders", 0, position, b"".join(batches), tuple(aborted), gaps)


def read(answer: FetchedPartition, max_records: int = MANY, max_bytes: int = LARGE) -> list[tuple[list[int], int]]:
    """Return each piece as the offsets of its records and the offset behind it."""
    return [told(piece) for piece in answer.pieces(max_records, max_bytes)]


def told(piece: Piece) -> tuple[list[int], int]:
    return [one.offset for one in piece.records], piece.next_offset


def read_until_broken(answer: FetchedPartition) -> tuple[list[tuple[list[int], int]], int]:
    """Return the pieces before the broken batch, and the offset that it is told at."""
    pieces: list[Piece] = []
    with pytest.raises(CorruptBatch) as broken:
        pieces.extend(answer.pieces(MANY, LARGE))
    return [told(piece) for piece in pieces], broken.value.offset


def test_records_are_read_from_the_position_on() -> None:
    """A broker sends the whole batch that the position lies in."""
    assert read(fetched(11, batch(10, b"a", b"b"), batch(12, b"c"))) == [([11, 12], 13)]


def test_a_record_says_where_and_when_it_was() -> None:
    """Topic, partition, offset, timestamp, key and value."""
    [piece] = fetched(5, batch(5, b"value", key=b"key")).pieces(MANY, LARGE)
    [record] = piece.records
    assert (record.topic, record.partition, record.offset) == ("orders", 0, 5)
    assert (record.timestamp, record.key, record.value) == (1_700_000_000_005, b"key", b"value")
    assert piece.size_bytes == weigh(record)


def test_a_batch_that_is_cut_off_is_left_for_the_next_fetch() -> None:
    """A broker sends as many bytes as it was asked for; the beginning of a batch alone is nothing."""
    assert read(fetched(0, batch(0, b"a"), batch(1, b"b")[:-1])) == [([0], 1)]
    assert read(fetched(0, batch(0, b"a")[:-1])) == []
    assert read(fetched(0)) == []


def test_markers_of_transactions_are_passed() -> None:
    """They hold no record to consume, and the position goes behind them: there is no lag then."""
    assert read(fetched(0, batch(0, b"a", producer=PRODUCER), marker(1, PRODUCER))) == [([0], 2)]
    assert read(fetched(1, marker(1, PRODUCER))) == [([], 2)]


def test_records_of_an_aborted_transaction_are_passed() -> None:
    """Those of others between them, and later ones of the same producer, are read."""
    answer = fetched(
        0,
        batch(0, b"aborted", producer=PRODUCER),
        batch(1, b"kept", producer=OTHER),
        batch(2, b"plain"),
        marker(3, PRODUCER, abort=True),
        batch(4, b"later", producer=PRODUCER),
        marker(5, PRODUCER),
        marker(6, OTHER),
        aborted=[(PRODUCER, 0)],
    )
    assert read(answer) == [([1, 2, 4], 7)]


def test_an_answer_of_nothing_but_an_aborted_transaction_moves_the_position() -> None:
    """Else it would be lag for ever."""
    batches = batch(0, b"a", b"b", producer=PRODUCER), marker(2, PRODUCER, abort=True)
    assert read(fetched(0, *batches, aborted=[(PRODUCER, 0)])) == [([], 3)]


def test_a_marker_of_which_compaction_has_left_nothing_is_passed() -> None:
    """The last batch of a producer stays, without a record."""
    raw = bytearray(marker(0, PRODUCER))
    emptied = raw[:61]
    emptied[8:12] = (len(emptied) - 12).to_bytes(4, "big")
    emptied[57:61] = bytes(4)
    assert read(fetched(0, with_checksum(bytes(emptied)), batch(1, b"a"))) == [([1], 2)]


@pytest.mark.parametrize("says", [2**20, 1])
def test_a_batch_whose_offset_was_spoilt_is_broken(says: int) -> None:
    """No checksum covers it: it would lead past records that nobody has seen, or hide its own."""
    wrong = says.to_bytes(8, "big") + batch(2, b"c")[8:]
    answer = FetchedPartition("orders", 0, 0, batch(0, b"a", b"b") + wrong + batch(3, b"d"), end=4, gaps=True)
    assert read_until_broken(answer) == ([([0, 1], 2)], 2)


def elsewhere(raw: bytes, says: int) -> bytes:
    """Return a batch that says that it begins at another offset."""
    return says.to_bytes(8, "big") + raw[8:]


def test_a_spoilt_batch_before_the_position_is_passed() -> None:
    """A broker that believes it to be far ahead sends it with every answer; what was asked for is behind it."""
    stale = elsewhere(batch(0, b"a", b"b"), 2**20)
    answer = FetchedPartition("orders", 0, 2, stale + batch(2, b"c", b"d"), end=4)
    assert read(answer) == [([2, 3], 4)]
    inside = FetchedPartition("orders", 0, 3, stale + batch(2, b"c", b"d"), end=4)
    assert read(inside) == [([3], 4)]
    assert read_until_broken(FetchedPartition("orders", 0, 2, stale, end=4)) == ([], 2)


def test_a_batch_that_says_it_begins_behind_the_next_one_is_broken() -> None:
    """Believed, it would move the offset past all that lies between. Once it is skipped it is passed."""
    log = elsewhere(batch(2, b"c"), 5000) + batch(3, b"d", b"e")
    assert read_until_broken(FetchedPartition("orders", 0, 0, batch(0, b"a", b"b") + log, end=10_000)) == (
        [([0, 1], 2)],
        2,
    )
    assert read_until_broken(FetchedPartition("orders", 0, 2, log, end=10_000)) == ([], 2)
    assert read(FetchedPartition("orders", 0, 3, log, end=10_000)) == [([3, 4], 5)]


def test_a_batch_that_came_after_the_end_was_told_is_left_for_the_next_fetch() -> None:
    """A leader reads its high watermark first and the records then. Told alone again, it is broken."""
    answer = FetchedPartition("orders", 0, 0, batch(0, b"a") + batch(1, b"b"), end=1)
    assert read(answer) == [([0], 1)]
    assert read_until_broken(FetchedPartition("orders", 0, 1, batch(1, b"b"), end=1)) == ([], 1)


def test_a_batch_that_says_it_has_offsets_of_the_one_before_it_is_broken() -> None:
    """One of the two is mistaken: to leave out what both say they have would lose records that were never seen."""
    answer = fetched(3, batch(3, b"d", b"e", b"f"), batch(4, b"x", b"y", b"z"))
    assert read_until_broken(answer) == ([([3, 4, 5], 6)], 6)
    across = FetchedPartition("orders", 0, 5, batch(4, b"x", b"y", b"z"), whole=True)
    assert read_until_broken(across) == ([], 5)
    assert read(attrs.evolve(across, whole=False)) == [([5, 6], 7)]


def test_what_compaction_took_from_a_batch_is_passed() -> None:
    """A batch keeps its last offset."""
    assert read(fetched(0, batch(0, b"a", b"d", deltas=(0, 3)), batch(4, b"e"))) == [([0, 3, 4], 5)]


def test_what_lies_behind_a_gap_is_left_for_a_fetch_at_exactly_that_offset() -> None:
    """Only its answer shows that nothing is there. A topic that is known to have gaps is read on."""
    batches = batch(0, b"a"), batch(5, b"f")
    assert read(fetched(0, *batches)) == [([0], 1)]
    assert read(fetched(0, *batches, gaps=True)) == [([0, 5], 6)]
    behind = fetched(1, batch(5, b"f"))
    assert (behind.skips, read(behind)) == (True, [([5], 6)])
    assert not fetched(5, batch(5, b"f")).skips


@pytest.mark.parametrize("compression", [0, ZSTD])
def test_what_comes_before_a_broken_batch_is_read(compression: int) -> None:
    """Then the broken one is told, at the position; what lies behind it is not looked at."""
    answer = fetched(3, batch(3, b"a"), spoilt(batch(4, b"b", b"c", compression=compression)), batch(6, b"d"))
    assert read_until_broken(answer) == ([([3], 4)], 4)


def test_a_batch_whose_content_cannot_be_unpacked_is_broken_too() -> None:
    """Its checksum is right, but what was compressed is no zstd."""
    raw = batch(0, b"a" * 100, compression=ZSTD)
    assert read_until_broken(fetched(0, with_checksum(raw[:-20] + bytes(20)))) == ([], 0)


@given(garbage=st.binary(min_size=1, max_size=200))
def test_no_bytes_raise_anything_else(garbage: bytes) -> None:
    """Whatever a broker sends is read, is left for the next fetch, or is told as broken."""
    position = 0
    with suppress(CorruptBatch):
        for piece in fetched(position, garbage).pieces(MANY, LARGE):
            assert piece.next_offset > position
            position = piece.next_offset


@given(
    sizes=st.lists(st.integers(RECORD_OVERHEAD_BYTES, 900), max_size=40),
    in_a_batch=st.integers(1, 7),
    max_records=st.integers(1, 10),
    max_bytes=st.integers(1, 2000),
)
def test_every_record_is_in_exactly_one_piece_within_the_limits(
    sizes: list[int], in_a_batch: int, max_records: int, max_bytes: int
) -> None:
    """In order, whatever batches they came in; none too large unless alone, and none smaller than it had to be."""
    values = [b"x" * (size - RECORD_OVERHEAD_BYTES) for size in sizes]
    batches = [batch(begin, *values[begin : begin + in_a_batch]) for begin in range(0, len(values), in_a_batch)]
    pieces = list(fetched(0, *batches).pieces(max_records, max_bytes))
    assert [one.offset for piece in pieces for one in piece.records] == list(range(len(sizes)))
    for piece in pieces:
        assert piece.size_bytes == sum(sizes[one.offset] for one in piece.records)
        assert len(piece.records) == 1 or (len(piece.records) <= max_records and piece.size_bytes <= max_bytes)
        assert piece.next_offset == piece.records[-1].offset + 1
    for piece, following in pairwise(pieces):
        full = len(piece.records) == max_records
        assert full or piece.size_bytes + sizes[following.records[0].offset] > max_bytes


def test_keys_headers_and_records_without_a_value_weigh_something_too() -> None:
    """A million tombstones are not weightless, and a producer may put its megabytes into headers."""
    records: list[Record] = [(None, None, []), (b"k" * 7, b"v" * 5, [(b"h", b"12"), (b"n", None)])]
    [piece] = fetched(0, bytes(builder(records).build())).pieces(MANY, LARGE)
    assert [weigh(one) - RECORD_OVERHEAD_BYTES for one in piece.records] == [0, 7 + 5 + 1 + 2 + 1]


@given(batches=st.lists(_RECORDS, min_size=1, max_size=3), compression=st.sampled_from([0, 1]))
def test_every_record_is_read_whatever_its_headers_are_called(batches: list[list[Record]], compression: int) -> None:
    """Whole, in order, in every batch, compressed or not; in a name, what is no UTF-8 is replaced."""
    data, offset, expected = b"", 0, []
    for records in batches:
        data += offset.to_bytes(8, "big") + bytes(builder(records, compression).build())[8:]
        for key, value, headers in records:
            names = [(name.decode(errors="replace"), content) for name, content in headers]
            expected.append((offset, key, value, names))
            offset += 1
    found = [one for piece in fetched(0, data).pieces(MANY, LARGE) for one in piece.records]
    assert [(one.offset, one.key, one.value, list(one.headers)) for one in found] == expected
