"""Fills orderflow's tables with orders that PostgreSQL generates itself, as fast as possible."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import md5

import asyncpg
import attrs

from bench.builds import Build
from bench.testbed import Testbed, connection
from engine.postgres.errors import describe
from tests.support.isolation import own_database

_ORDERS = """
INSERT INTO orders (
    order_uid, track_number, entry, locale, internal_signature, customer_id, delivery_service, shardkey, sm_id,
    date_created, oof_shard, delivery_name, delivery_phone, delivery_zip, delivery_city, delivery_address,
    delivery_region, delivery_email, payment_transaction, payment_request_id, payment_currency, payment_provider,
    payment_amount, payment_dt, payment_bank, payment_delivery_cost, payment_goods_total, payment_custom_fee,
    source_partition, source_offset, content_digest
)
SELECT uid, 'WB' || substr(md5('t' || i), 1, 12), 'WBIL', 'ru', '', substr(md5('c' || i), 1, 10), 'meest',
       i % 10, i % 100, timestamptz '2026-10-01 00:00:00Z' + make_interval(secs => i), '1', 'Анна Петрова',
       '+79' || lpad((i % 1000000000)::text, 9, '0'), lpad((i % 1000000)::text, 6, '0'), 'Казань',
       'ул. Пушкина ' || i % 100, 'Республика Татарстан', 'user' || i % 10000 || '@example.com', uid, '', 'RUB',
       'wbpay', 1500, 1700000000 + i, 'sber', 500, 1000, 0, i % 4, i / 4, decode(md5(i::text), 'hex')
FROM (SELECT i, {uid} AS uid FROM generate_series($1::bigint, $2::bigint) AS i) AS numbered
"""
_ITEMS = """
INSERT INTO order_items (
    order_uid, position, rid, chrt_id, track_number, price, name, sale, size, total_price, nm_id, brand, status
)
SELECT {uid}, j, substr(md5(i || '-' || j), 1, 21), 1 + i % 999999, 'WB' || substr(md5('t' || i), 1, 12), 400,
       'Постельное бельё, двуспальное', 0, '0', 400, 1 + (random() * 4999999)::bigint, 'Vivienne Sabó', 202
FROM generate_series($1::bigint, $2::bigint) AS i, generate_series(0, i % 4) AS j
"""
# `stored_uid` computes the same.
_NUMBERED_UID = "lpad(i::text, 8, '0') || substr(md5(i::text), 1, 11)"
_RANDOM_UID = "substr(md5(i::text), 1, 19)"
_INDEXES = """
SELECT relname AS name, pg_get_indexdef(oid) AS definition
FROM pg_index JOIN pg_class ON oid = indexrelid
WHERE indrelid = ANY('{orders,order_items}'::regclass[])
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""
_TIMEOUT_S = 7200


@attrs.frozen
class StoredOrders:
    """The number of rows in the tables."""

    orders: int
    items: int


@attrs.frozen
class Template:
    """A template database, and the number of rows in it."""

    database: str
    stored: StoredOrders


def stored_uid(number: int, *, random_uids: bool = False) -> str:
    """Return the uid of a stored order."""
    digest = md5(str(number).encode(), usedforsecurity=False).hexdigest()
    return digest[:19] if random_uids else f"{number:08d}{digest[:11]}"


@asynccontextmanager
async def templates(testbed: Testbed, count: int, *, random_uids: bool = False) -> AsyncIterator[dict[Build, Template]]:
    """Provide, for each build, a database with its own schema that contains `count` orders."""
    async with AsyncExitStack() as stack:
        made = {}
        for build in testbed.builds:
            name = await stack.enter_async_context(own_database(testbed.environment, build.database))
            async with connection({**testbed.environment, "POSTGRES_DATABASE": name}) as database:
                made[build] = Template(name, await store_orders(database, count, random_uids=random_uids))
        yield made


async def store_orders(
    database: asyncpg.Connection, count: int, *, first: int = 0, random_uids: bool = False
) -> StoredOrders:
    """Add the orders with the numbers from `first` to below `count`. Returns the number of rows in the tables.

    Afterwards indexes are built, as in a restored database, and the tables are vacuumed and analysed.
    """
    uid = _RANDOM_UID if random_uids else _NUMBERED_UID
    indexes = await database.fetch(_INDEXES)
    for index in indexes:
        await database.execute(f'DROP INDEX "{index["name"]}"')
    await _skip_foreign_keys(database)
    for statement in (_ORDERS, _ITEMS):
        await database.execute(statement.replace("{uid}", uid), first, count - 1, timeout=_TIMEOUT_S)
    await database.execute("RESET session_replication_role")
    for index in indexes:
        await database.execute(index["definition"], timeout=_TIMEOUT_S)
    for table in ("orders", "order_items"):
        await database.execute(f"VACUUM (FREEZE, ANALYZE) {table}", timeout=_TIMEOUT_S)
    orders, items = [await database.fetchval(f"SELECT count(*) FROM {table}") for table in ("orders", "order_items")]
    return StoredOrders(orders, items)


async def _skip_foreign_keys(database: asyncpg.Connection) -> None:
    """Turn off foreign key checks: they would take most of the time, and each item has its order by construction."""
    try:
        await database.execute("SET session_replication_role = replica")
    except asyncpg.InsufficientPrivilegeError as error:
        print(f"bench: cannot turn off foreign key checks; filling takes longer: {describe(error)}", file=sys.stderr)
