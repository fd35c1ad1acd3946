"""COPY with asyncpg's own encoding of values: for a handler that needs no format of its own."""

from collections.abc import Iterable, Sequence
from typing import Any

from asyncpg import Connection, DataError


async def copy_records(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Copy rows into a table, a value a column.

    Raises what asyncpg raises, and `asyncpg.DataError` for a value that its type cannot hold: asyncpg itself raises
    other errors for those when it copies, which say nothing of whether the data or the program is at fault.
    """
    try:
        await connection.copy_records_to_table(table, columns=columns, records=rows)
    except (ValueError, OverflowError) as error:
        raise DataError(f"a value cannot be encoded: {type(error).__name__}") from None
