"""Checks that a run has not lost an order. If it has, the run does not count."""

from collections.abc import Mapping, Sequence

import asyncpg
from redis.asyncio import Redis

from bench.backlog import Backlog
from bench.stored_orders import StoredOrders
from handlers.reader import fetch_bodies

PAGE = 5000
SAMPLE = 200


class OrdersLost(Exception):
    """Not all orders of a run were stored."""


def verify_counts(found: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    """Raise `OrdersLost` unless all counts are equal to the expected ones."""
    wrong = [f"{name}: {found[name]:,} of {count:,}" for name, count in wanted.items() if found[name] != count]
    if wrong:
        raise OrdersLost("; ".join(wrong))


async def verify_engine(
    database: asyncpg.Connection, redis: Redis, backlog: Backlog, stored: StoredOrders, *, bodies: bool
) -> None:
    """Check the result of consuming `backlog` with the engine. `stored` are the rows that existed before.

    `bodies`: also compare the cached answers with those that this build creates. Those of another build may differ.
    """
    row = await database.fetchrow(
        "SELECT (SELECT count(*) FROM orders) AS orders, (SELECT count(*) FROM order_items) AS order_items, "
        "(SELECT count(*) FROM dead_letters) AS dead_letters, (SELECT sum(messages) FROM batches) AS messages"
    )
    assert row is not None
    wanted = {
        "messages": backlog.messages,
        "orders": stored.orders + backlog.orders,
        "order_items": stored.items + backlog.items,
        "dead_letters": backlog.rejected,
    }
    verify_counts(dict(row), wanted)
    await verify_cached(redis, backlog.uids)
    if bodies:
        await _verify_bodies(database, redis, backlog)


async def _verify_bodies(database: asyncpg.Connection, redis: Redis, backlog: Backlog) -> None:
    sample = backlog.uids[:: max(1, backlog.orders // SAMPLE)]
    bodies = await fetch_bodies(database, sample)
    cached = await redis.mget([f"order:{uid}" for uid in sample])
    if cached != [bodies[uid] for uid in sample]:
        raise OrdersLost("the cache does not match PostgreSQL")


async def verify_reference(database: asyncpg.Connection, backlog: Backlog) -> None:
    """Check the rows that a peer, or the raw COPY, has written into the reference schema."""
    tables = {"orders": backlog.orders, "deliveries": backlog.orders, "payments": backlog.orders}
    wanted = {**tables, "order_items": backlog.items}
    found = {table: await database.fetchval(f"SELECT count(*) FROM {table}") for table in wanted}
    verify_counts(found, wanted)


async def verify_cached(redis: Redis, uids: Sequence[str]) -> None:
    """Raise `OrdersLost` unless all orders are in the cache."""
    cached = 0
    for start in range(0, len(uids), PAGE):
        cached += await redis.exists(*(f"order:{uid}" for uid in uids[start : start + PAGE]))
    verify_counts({"cached": cached}, {"cached": len(uids)})
