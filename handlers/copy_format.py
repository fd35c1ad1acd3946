"""Encodes rows as CSV, for PostgreSQL's COPY.

https://www.postgresql.org/docs/current/sql-copy.html describes the format. Texts are in quotes, so an empty text is not
NULL, and NULL is `null`. So a row of texts without special characters is a JSON array without its brackets, and
msgspec's encoder writes it. This takes half the time of the binary format of COPY.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from asyncpg import Connection
from msgspec import json

from engine.records import bounded_ms, time_of

_encode = json.Encoder().encode


def fields(values: Sequence[str | int]) -> bytes:
    """Return some fields of a row. JSON must be able to hold each text without an escape."""
    return _encode(values)[1:-1]


def escaped_fields(values: Iterable[str | int]) -> bytes:
    """Return some fields of a row. Texts may have any characters. It is slower than `fields`."""
    return ",".join(
        '"' + value.replace('"', '""') + '"' if isinstance(value, str) else str(value) for value in values
    ).encode()


def bytes_field(value: bytes) -> bytes:
    """Return a field of the type `bytea`."""
    return b"\\x" + value.hex().encode()


def time_field(timestamp_ms: int) -> bytes:
    """Return milliseconds since 1970, with the limits of `bounded_ms`, as a field of the type `timestamptz`."""
    second, milliseconds = divmod(bounded_ms(timestamp_ms), 1000)
    return b"%b.%03dZ" % (_second(second), milliseconds)


@lru_cache(maxsize=1024)
def _second(since_1970: int) -> bytes:
    # Many messages of a batch have the same second.
    return time_of(since_1970 * 1000).replace(tzinfo=None).isoformat(timespec="seconds").encode()


async def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[bytes]) -> None:
    """Copy rows, or pieces of rows, into a table. Every row ends with a newline. Raises asyncpg's errors."""
    data: Any = memoryview(b"".join(rows))  # asyncpg takes bytes for the path of a file
    await connection.copy_to_table(table, source=data, columns=columns, format="csv", null="null")
