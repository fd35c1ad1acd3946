"""COPY with asyncpg's own encoding of values, for a handler that does not encode its rows itself."""

from collections.abc import Iterable, Sequence
from typing import Any

from asyncpg import Connection, DataError


async def copy_records(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Copy rows into a table. Each row has one value per column.

    Raises asyncpg's errors, and `asyncpg.DataError` for a value that does not fit the type of its column. For such a
    value asyncpg itself raises an error that does not show whether the data or the program is wrong.
    """
    try:
        await connection.copy_records_to_table(table, columns=columns, records=rows)
    except (ValueError, OverflowError) as error:
        raise DataError(f"a value cannot be encoded: {type(error).__name__}") from None
