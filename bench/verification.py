"""Whether a run has lost an order. One that has does not count, however fast it was."""

from collections.abc import Mapping, Sequence

import asyncpg
from redis.asyncio import Redis

from bench.backlog import Backlog
from bench.stored_orders import StoredOrders
from handlers.reader import fetch_bodies

PAGE = 5000
SAMPLE = 200


class OrdersLost(Exception):
    """What a run was to store is not all there."""


def verify_counts(found: Mapping[str, int], wanted: Mapping[str, int]) -> None:
    """Raise `OrdersLost` unless every count is what it must be."""
    wrong = [f"{name}: {found[name]:,} of {count:,}" for name, count in wanted.items() if found[name] != count]
    if wrong:
        raise OrdersLost("; ".join(wrong))


async def verify_engine(
    database: asyncpg.Connection, redis: Redis, backlog: Backlog, stored: StoredOrders, *, bodies: bool
) -> None:
    """Check what the engine has made of `backlog`. `stored` were there before.

    `bodies`: compare cached answers with those that this build makes, too. Another build's may be different.
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
        raise OrdersLost("the cache holds something else than PostgreSQL")


async def verify_reference(database: asyncpg.Connection, backlog: Backlog) -> None:
    """Check what a peer, or the raw COPY, has written into the reference schema."""
    tables = {"orders": backlog.orders, "deliveries": backlog.orders, "payments": backlog.orders}
    wanted = {**tables, "order_items": backlog.items}
    found = {table: await database.fetchval(f"SELECT count(*) FROM {table}") for table in wanted}
    verify_counts(found, wanted)


async def verify_cached(redis: Redis, uids: Sequence[str]) -> None:
    """Raise `OrdersLost` unless every order is in the cache."""
    cached = 0
    for start in range(0, len(uids), PAGE):
        cached += await redis.exists(*(f"order:{uid}" for uid in uids[start : start + PAGE]))
    verify_counts({"cached": cached}, {"cached": len(uids)})
