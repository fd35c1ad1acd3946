"""The columns that rows and queries are made from are those that the migrations make."""

import asyncpg
import pytest

from handlers.fields import STORED_WITH, TABLES

_COLUMNS = """
SELECT column_name, data_type, is_nullable = 'YES' AS nullable
FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = $1
"""


@pytest.mark.parametrize("table", TABLES)
async def test_the_database_has_these_columns_and_no_others(database: asyncpg.Connection, table: str) -> None:
    """Each of the type that rows are packed as; what an order says is never NULL."""
    rows = await database.fetch(_COLUMNS, table)

    assert {row["column_name"]: row["data_type"] for row in rows} == {
        column.name: column.kind.postgres for column in TABLES[table]
    }
    nullable = {row["column_name"] for row in rows if row["nullable"]}
    assert nullable <= {column.name for column in STORED_WITH}
