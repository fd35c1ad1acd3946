"""`python -m examples.page_views.top`: how often each page was viewed."""

import asyncio

import asyncpg

from examples.page_views.pipeline import POSTGRES


async def _top() -> None:
    connection = await asyncpg.connect(**POSTGRES)
    for row in await connection.fetch("SELECT page, count(*) AS views FROM page_views GROUP BY page ORDER BY 2 DESC"):
        print(f"{row['views']:>8}  {row['page']}")
    await connection.close()


if __name__ == "__main__":
    asyncio.run(_top())
