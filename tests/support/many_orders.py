"""Inserts many orders into PostgreSQL with one statement, for tests of lists."""

from datetime import UTC, datetime

from asyncpg import Connection

FIRST_CREATED = datetime(2026, 1, 1, tzinfo=UTC)
_INSERT_ORDERS = """
INSERT INTO orders
SELECT $1 || lpad(n::text, 9, '0'), $1 || 'track-' || n, 'entry', 'en', '', 'customer-' || n % $4, 'meest', '9', 99,
       $3::timestamptz + make_interval(secs => n / $5), '1',
       'recipient', '+70000000000', '101000', 'Moscow', 'Tverskaya 1', '', 'somebody@example.com',
       'transaction', '', 'USD', 'wbpay', n, 1637907727, 'alpha', 0, n, 0
FROM generate_series(0, $2 - 1) AS n
"""
_INSERT_ITEMS = """
INSERT INTO order_items
SELECT order_uid, position, 'rid-' || position, 1, 'track', 1, 'name', 0, '0', 1, 1, 'brand', 202
FROM orders, generate_series(0, $2 - 1) AS position WHERE starts_with(order_uid, $1)
"""


async def store_many(
    connection: Connection,
    prefix: str,
    count: int,
    *,
    since: datetime = FIRST_CREATED,
    customers: int = 100,
    a_second: int = 1,
    items: int = 1,
) -> None:
    """Insert `count` orders of `items` items each, whose uids begin with `prefix`.

    They were created from `since` on, `a_second` of them per second, in the order of their uids. The customers are
    assigned in turn.
    """
    async with connection.transaction():
        await connection.execute(_INSERT_ORDERS, prefix, count, since, customers, a_second)
        await connection.execute(_INSERT_ITEMS, prefix, items)
