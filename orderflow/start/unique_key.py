"""Checks that `orders` has a unique index on exactly `order_uid`: without one, repeated orders are stored twice."""

from asyncpg import Connection

from orderflow.exits import CannotStart

# Only an index that always holds, for all rows. A name is not checked, because a partition's index has its own.
_LACKS_KEY = """
SELECT to_regclass('orders') IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
    WHERE indrelid = to_regclass('orders') AND attname = 'order_uid' AND indnkeyatts = 1
      AND indisunique AND indisvalid AND indimmediate AND indpred IS NULL)
"""


async def check_unique_key(connection: Connection) -> None:
    """Raise `CannotStart` if `orders` has no such index. If there is no `orders`, another check reports it."""
    if await connection.fetchval(_LACKS_KEY, timeout=5):
        raise CannotStart(
            "the table orders has no unique index on exactly (order_uid), so repeated orders would be stored twice: "
            "create one, or partition it by hash of order_uid (docs/partitioning.md)"
        )
