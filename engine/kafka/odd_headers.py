"""Reads records whose headers have names that are not UTF-8: aiokafka's decoder gives up on a batch that holds one.

This is the one file that uses private names of aiokafka, those of 0.14.0: `tests/unit/test_library_versions.py` fails
at any other version. No public reader of aiokafka can be told how to decode a name. So its reader in Python is given
bytes that can always be decoded, once they are unpacked: it slices a name out of `_buffer`, and decodes the slice.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.record.default_records import _DefaultRecordBatchPy


def tolerant(batch: Any, raw: memoryview) -> Iterator[Any]:
    """Yield the records of `batch`, aiokafka's reader of the bytes `raw`, whatever their headers are called.

    The name of a header decides nothing, the value of a message does: what is no UTF-8 in a name is replaced.
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
    records: Iterator[Any] = iter(batch)  # unpacks the bytes
    batch._buffer = _Lenient(batch._buffer)
    return records


class _Lenient(bytearray):
    """Bytes whose slices are decoded whatever they hold."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return _Lenient(found) if isinstance(key, slice) else found

    def decode(self, encoding: str = "utf-8", _errors: str = "strict") -> str:
        return super().decode(encoding, "replace")
