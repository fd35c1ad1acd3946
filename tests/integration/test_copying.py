"""COPY of values that no column of their type can hold: refused data, as if PostgreSQL itself had refused it."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import asyncpg
import pytest

from engine.postgres.copying import copy_records
from engine.postgres.errors import describe, refuses_data

COLUMNS = ("name", "at", "size")
GOOD = ("a name", datetime(2026, 1, 2, tzinfo=UTC), 3)


@pytest.fixture
async def table(database: asyncpg.Connection) -> str:
    """Create an empty table."""
    await database.execute("CREATE TABLE things (name text, at timestamptz, size integer)")
    return "things"


async def test_rows_arrive_as_they_are(database: asyncpg.Connection, table: str) -> None:
    """A value a column, in the order of the columns."""
    await copy_records(database, table, COLUMNS, [GOOD])
    assert [tuple(row) for row in await database.fetch("SELECT * FROM things")] == [GOOD]


@pytest.mark.parametrize(
    "bad",
    [
        ("\ud800", GOOD[1], GOOD[2]),
        ("a\x00b", GOOD[1], GOOD[2]),
        (GOOD[0], datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))), GOOD[2]),
        (GOOD[0], GOOD[1], 2**40),
    ],
    ids=["a lone surrogate", "NUL", "before the first year", "more than an int4"],
)
async def test_a_value_that_fits_no_column_is_refused_data(
    database: asyncpg.Connection, table: str, bad: tuple[Any, ...]
) -> None:
    """The engine finds the culprit and writes its neighbours; what it is told holds no data."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        await copy_records(database, table, COLUMNS, [GOOD, bad])
    assert refuses_data(caught.value)
    assert describe(caught.value).endswith(")")
    assert await database.fetchval("SELECT count(*) FROM things") == 0


async def test_a_value_of_another_type_is_a_defect_of_the_program(database: asyncpg.Connection, table: str) -> None:
    """No dead letter is made of it."""
    with pytest.raises(TypeError):
        await copy_records(database, table, COLUMNS, [(5, GOOD[1], GOOD[2])])
