"""Rates and latencies of the last minutes, in time buckets; only the newest buckets are read again."""

from collections.abc import Iterable
from typing import Any

BUCKET_S = 2
BUCKETS = 150
_AMENDED = 5
"""How many of the newest buckets may still change: a batch appears when its transaction ends, and is cached later."""


class RateWindow:
    """The last five minutes. Buckets are numbered from the epoch; times are the database's, in seconds."""

    def __init__(self) -> None:
        self._rows: dict[int, Any] = {}
        self._read_until = 0

    def first_to_read(self, now_s: float) -> int:
        """Return the first bucket to read: the oldest at first, later the oldest that may have changed."""
        return max(_current(now_s) - BUCKETS, self._read_until - _AMENDED)

    def take(self, rows: Iterable[Any], first: int, now_s: float) -> None:
        """Store the rows from bucket `first` on, and drop buckets that are too old."""
        oldest = _current(now_s) - BUCKETS
        kept = {number: row for number, row in self._rows.items() if oldest <= number < first}
        self._rows = {**kept, **{row["bucket"]: row for row in rows}}
        self._read_until = _current(now_s)

    def render(self) -> dict[str, Any]:
        """Return the complete buckets, oldest first, as columns: rates per second, and mean latencies in ms.

        `until` is the end of the last bucket, in seconds since the epoch. A latency is null if nothing was committed.
        """
        numbers = range(self._read_until - BUCKETS, self._read_until)
        rows = [self._rows.get(number) for number in numbers]
        return {
            "bucket_s": BUCKET_S,
            "until": self._read_until * BUCKET_S,
            "committed": [0 if row is None else round(row["accepted"] / BUCKET_S, 1) for row in rows],
            "rejected": [0 if row is None else round(row["rejected"] / BUCKET_S, 1) for row in rows],
            "commit_ms": [_milliseconds(row, "commit_s") for row in rows],
            "cache_ms": [_milliseconds(row, "cache_s") for row in rows],
        }


def _current(now_s: float) -> int:
    return int(now_s // BUCKET_S)


def _milliseconds(row: Any, column: str) -> float | None:
    return None if row is None or row[column] is None else round(row[column] * 1000, 1)
