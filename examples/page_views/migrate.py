"""`python -m examples.page_views.migrate`: creates the table. The engine's own tables come from `orderflow migrate`."""

import asyncio
from pathlib import Path

import asyncpg

from examples.page_views.pipeline import POSTGRES


async def _migrate() -> None:
    connection = await asyncpg.connect(**POSTGRES)
    await connection.execute(Path(__file__).with_name("page_views.sql").read_text(encoding="utf-8"))
    await connection.close()


if __name__ == "__main__":
    asyncio.run(_migrate())
