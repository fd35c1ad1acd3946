"""Records are read whatever their headers are called: no producer's nonsense stops a partition."""

from typing import Any

import pytest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from engine.kafka_records import TolerantRecords
from tests.support.odd_headers import Record, builder

_BYTES = st.one_of(st.none(), st.binary(max_size=20))
_HEADERS = st.lists(st.tuples(st.one_of(st.just(b"trace"), st.binary(max_size=6)), _BYTES), max_size=3)
_RECORDS = st.lists(st.tuples(_BYTES, _BYTES, _HEADERS), min_size=1, max_size=8)
ODD: Record = (b"key", b"value", [(b"\xff\xfe", b"1"), (b"trace", None)])
PLAIN: Record = (b"key", None, [(b"trace", b"\xff")])


def read(records: Any) -> list[list[Any]]:
    """Return the records of each batch as (offset, key, value, headers)."""
    batches = []
    while records.has_next():
        batch = records.next_batch()
        assert batch.validate_crc()
        assert not batch.is_control_batch
        batches.append([(one.offset, one.key, one.value, list(one.headers)) for one in batch])
    return batches


def expected(records: list[Record]) -> list[Any]:
    return [
        (offset, key, value, [(name.decode(errors="replace"), content) for name, content in headers])
        for offset, (key, value, headers) in enumerate(records)
    ]


@given(batches=st.lists(_RECORDS, min_size=1, max_size=3), compression=st.sampled_from([0, 1]))
def test_every_record_is_read_whatever_its_headers_are_called(batches: list[list[Record]], compression: int) -> None:
    """Whole, in order, in every batch, compressed or not; in a name, what is no UTF-8 is replaced."""
    data = b"".join(bytes(builder(records, compression).build()) for records in batches)
    assert read(TolerantRecords(data)) == [expected(records) for records in batches]


def test_a_batch_that_is_cut_off_is_left_for_the_next_fetch() -> None:
    """As aiokafka does: a broker sends as many bytes as it was asked for."""
    whole = bytes(builder([ODD, PLAIN]).build())
    records = TolerantRecords(whole + whole[:-1])
    assert records.size_in_bytes() == 2 * len(whole) - 1
    assert read(records) == [expected([ODD, PLAIN])]


def test_the_library_still_gives_up_on_such_a_record() -> None:
    """When this fails, the library reads them itself, and what stands in for its decoder can go."""
    with pytest.raises(UnicodeDecodeError):
        read(MemoryRecords(bytes(builder([PLAIN, ODD]).build())))
