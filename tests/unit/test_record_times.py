"""A record tells when it was produced, whatever its producer wrote."""

from datetime import UTC, datetime

import attrs
import pytest

from engine.records import record_time


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


def test_a_record_tells_when_it_was_produced() -> None:
    """In UTC, to the millisecond; a record without a timestamp counts as older than 1970."""
    assert record_time(Record(0, timestamp=1_769_860_800_123)) == datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)
    assert record_time(Record(0, timestamp=0)) == datetime(1970, 1, 1, tzinfo=UTC)
    assert record_time(Record(0, timestamp=-1)) < datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("timestamp", [253_402_300_800_000, 1_769_860_800_123_000_000, 2**63 - 1])
def test_no_timestamp_of_a_producer_raises(timestamp: int) -> None:
    """Nanoseconds sent for milliseconds are bad data, and bad data must not end a worker."""
    assert record_time(Record(0, timestamp=timestamp)).year <= 9999
