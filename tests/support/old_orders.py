"""Creates the state of a database before a column existed: rolls its migration back and applies it again."""

import asyncpg

from orderflow.start.migrations import migrations_directory


async def forget_topics(database: asyncpg.Connection) -> None:
    """Make the stored orders look as if they had been written before orders stored their topic."""
    [path] = migrations_directory().glob("*_order_topics.sql")
    up, _, down = path.read_text(encoding="utf-8").partition("-- migrate:down")
    for statements in (down, up):
        async with database.transaction():
            await database.execute(statements)
