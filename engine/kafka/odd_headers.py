"""Reads records with header names that are not UTF-8. The decoder of aiokafka fails for the whole batch.

Only this file uses private names of aiokafka. They are from version 0.14.0, and `tests/unit/test_library_versions.py`
fails with any other version. The public readers of aiokafka have no option for decoding names. Its reader in Python
takes a slice of `_buffer` for each name and decodes it. So after decompression `_buffer` is replaced by a class whose
slices can always be decoded.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.record.default_records import _DefaultRecordBatchPy


def tolerant(batch: Any, raw: memoryview) -> Iterator[Any]:
    """Yield the records of `batch`, which is aiokafka's reader of the bytes `raw`. Accepts any header name.

    Bytes of a name that are not UTF-8 are replaced. A record must not be refused because of the name of a header.
    """
    read = 0
    try:
        for record in batch:
            yield record
            read += 1
    except UnicodeDecodeError:
        yield from islice(_read_slowly(raw), read, None)


def _read_slowly(raw: memoryview) -> Iterator[Any]:
    batch = _DefaultRecordBatchPy(raw)
    records: Iterator[Any] = iter(batch)  # decompresses the bytes
    batch._buffer = _Lenient(batch._buffer)
    return records


class _Lenient(bytearray):
    """Bytes whose slices can be decoded even if they are not valid UTF-8."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return _Lenient(found) if isinstance(key, slice) else found

    def decode(self, encoding: str = "utf-8", _errors: str = "strict") -> str:
        return super().decode(encoding, "replace")
