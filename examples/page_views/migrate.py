"""Creates the table. The engine's own tables come from `orderflow migrate`."""

import asyncio
import sys
from pathlib import Path

import asyncpg

from .names import TABLE
from .pipeline import POSTGRES

SCHEMA = Path(__file__).with_name("schema.sql")


async def _migrate() -> str | None:
    """Create the table. Returns an error message of one line, or None."""
    try:
        schema = SCHEMA.read_text(encoding="utf-8")
    except OSError as error:
        return f"{__package__}: {SCHEMA} cannot be read ({error.strerror}): it creates the table {TABLE}"
    connection = await asyncpg.connect(**POSTGRES)
    await connection.execute(schema)
    created = await connection.fetchval("SELECT to_regclass($1)", TABLE)
    await connection.close()
    return None if created else f"{__package__}: {SCHEMA.name} must create the table {TABLE}, as names.py calls it"


if __name__ == "__main__":
    sys.exit(asyncio.run(_migrate()))
