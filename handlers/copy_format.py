"""Encodes rows in the binary format of PostgreSQL's COPY.

https://www.postgresql.org/docs/current/sql-copy.html describes the format. A field is its length in four bytes, then
its value. All numbers are big-endian. A time is the number of microseconds since the start of the year 2000.
"""

import struct
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
"""The bytes before the first row: the signature, no flags, no extension."""
TRAILER = struct.pack(">h", -1)
"""The bytes after the last row."""
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_US = round(_EPOCH.timestamp()) * 1_000_000
_PIECES_A_PART = 1000
_LENGTH = struct.Struct(">i")


class _Lengths(dict[int, bytes]):
    """The encoded lengths by length. A lookup is faster than packing."""

    def __missing__(self, size: int) -> bytes:
        return _LENGTH.pack(size)


_length = _Lengths({size: _LENGTH.pack(size) for size in range(1024)}).__getitem__


def row_begin(fields: int) -> bytes:
    """Return the first bytes of a row with this number of fields."""
    return struct.pack(">h", fields)


def text_fields(texts: Iterable[str]) -> list[bytes]:
    """Return the fields as pieces. Each text has two pieces: its length and its value."""
    values = list(map(str.encode, texts))
    pieces = [b""] * (2 * len(values))
    pieces[::2] = map(_length, map(len, values))
    pieces[1::2] = values
    return pieces


@lru_cache(maxsize=16)
def text_field(text: str) -> bytes:
    """Return a field in one piece: its length and its value. The result is cached, for texts that many rows share."""
    return b"".join(text_fields([text]))


def microseconds(moment: datetime) -> int:
    """Return a time as the value of a `timestamptz`."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def microseconds_of_ms(timestamp_ms: int) -> int:
    """Return milliseconds since 1970 as the value of a `timestamptz`."""
    return timestamp_ms * 1000 - _EPOCH_US


async def copy_data(rows: Sequence[bytes]) -> AsyncIterator[bytes]:
    """Yield the input of COPY in parts. `rows` has rows or pieces of rows."""
    yield HEADER
    for start in range(0, len(rows), _PIECES_A_PART):
        yield b"".join(rows[start : start + _PIECES_A_PART])
    yield TRAILER
