"""Makes a database of before a column: the migration that added it is taken back and applied again."""

import asyncpg

from orderflow.start.migrations import migrations_directory


async def forget_topics(database: asyncpg.Connection) -> None:
    """Make what is stored look as if it had been written before orders named the topic that they come from."""
    [path] = migrations_directory().glob("*_order_topics.sql")
    up, _, down = path.read_text(encoding="utf-8").partition("-- migrate:down")
    for statements in (down, up):
        async with database.transaction():
            await database.execute(statements)
