"""Reads records whose headers have names that are not UTF-8.

aiokafka's decoder gives up on such a record, and so on everything behind it. The name of a header decides nothing, the
value of a message does: what is no UTF-8 in a name is replaced.
"""

from collections.abc import Iterator
from itertools import islice
from struct import Struct
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_OFFSET_AND_LENGTH = Struct(">qi")


def take_any_header_name() -> None:
    """Let the consumers of this process take records with such names. Calling it again changes nothing."""
    fetcher.MemoryRecords = TolerantRecords


class TolerantRecords:
    """Stands in for aiokafka's `MemoryRecords`: the record batches that were fetched from a partition."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._records = MemoryRecords(data)
        self._start = 0

    def size_in_bytes(self) -> int:
        """Return the size of all batches, the last of which may be incomplete."""
        size: int = self._records.size_in_bytes()
        return size

    def has_next(self) -> bool:
        """Whether there is another complete batch."""
        return bool(self._records.has_next())

    def next_batch(self) -> "_TolerantBatch":
        """Return the next batch."""
        batch = self._records.next_batch()
        _, length = _OFFSET_AND_LENGTH.unpack_from(self._data, self._start)
        start, self._start = self._start, self._start + _OFFSET_AND_LENGTH.size + length
        return _TolerantBatch(batch, self._data[start : self._start])


class _TolerantBatch:
    """A batch that is read by aiokafka's fast decoder up to the first record that this gives up on."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                yield record
                read += 1
        except UnicodeDecodeError:
            yield from islice(_read_slowly(self._raw), read, None)


def _read_slowly(raw: memoryview) -> Iterator[Any]:
    batch = _DefaultRecordBatchPy(raw)
    batch._maybe_uncompress()
    batch._buffer = _Lenient(batch._buffer)
    return iter(batch)


class _Lenient(bytearray):
    """Bytes whose slices are decoded whatever they hold."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return _Lenient(found) if isinstance(key, slice) else found

    def decode(self, encoding: str = "utf-8", _errors: str = "strict") -> str:
        return super().decode(encoding, "replace")
