"""How much was committed lately and how long it took, in buckets of time that only the newest of are read again."""

from collections.abc import Iterable
from typing import Any

BUCKET_S = 2
BUCKETS = 150
_AMENDED = 5
"""So many of the newest buckets may still change: a batch is seen when its transaction ends, and cached after that."""


class RateWindow:
    """The last five minutes. A bucket's number is its place since the epoch; times are the database's, in seconds."""

    def __init__(self) -> None:
        self._rows: dict[int, Any] = {}
        self._read_until = 0

    def first_to_read(self, now_s: float) -> int:
        """Return the bucket from which on rows are wanted: all at first, later those that may have changed."""
        return max(_current(now_s) - BUCKETS, self._read_until - _AMENDED)

    def take(self, rows: Iterable[Any], first: int, now_s: float) -> None:
        """Take the rows from the bucket `first` on, and drop what is too old."""
        oldest = _current(now_s) - BUCKETS
        kept = {number: row for number, row in self._rows.items() if oldest <= number < first}
        self._rows = {**kept, **{row["bucket"]: row for row in rows}}
        self._read_until = _current(now_s)

    def render(self) -> dict[str, Any]:
        """Return the buckets that are over, oldest first, as columns: rates a second, and mean latencies in ms.

        `until` is where the last one ends, in seconds since the epoch. A latency is null where nothing was committed.
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
