"""Prints how often each page was viewed, and the total."""

import asyncio

import asyncpg

from .names import TABLE
from .pipeline import POSTGRES


async def _top() -> None:
    connection = await asyncpg.connect(**POSTGRES)
    rows = await connection.fetch(f"SELECT page, count(*) AS views FROM {TABLE} GROUP BY page ORDER BY 2 DESC")
    await connection.close()
    for row in rows:
        print(f"{row['views']:>8}  {row['page']}")
    print(f"{sum(row['views'] for row in rows):>8}  views")


if __name__ == "__main__":
    asyncio.run(_top())
