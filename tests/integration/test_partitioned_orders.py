"""`orders` partitioned by hash as docs/partitioning.md says, and tables without a unique index on the order's uid."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientSession
from asyncpg import UniqueViolationError

from engine.handler import RewriteBatch
from handlers.order_writer import OrderWriter
from orderflow.exits import CannotStart
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from orderflow.start.unique_key import check_unique_key
from tests.integration.test_order_writer import batch_of
from tests.support.eventually import consumed
from tests.support.isolation import connect
from tests.support.letters import letters, message
from tests.support.programs import Programs
from tests.support.stored_orders import make_order
from tests.support.topic import send

PAGE = (Path(__file__).parents[2] / "docs" / "partitioning.md").read_text(encoding="utf-8")
[RECIPE] = re.findall(r"^```sql\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
_SHAPE = """
SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
WHERE conrelid IN ('orders'::regclass, 'order_items'::regclass) AND conparentid = 0
UNION ALL SELECT replace(indexdef, ' ONLY ', ' ') FROM pg_indexes WHERE tablename IN ('orders', 'order_items')
UNION ALL SELECT format('%s %s', attname, pg_get_expr(adbin, adrelid)) FROM pg_attribute
    LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum) WHERE attrelid = 'orders'::regclass AND attnum > 0
UNION ALL SELECT pg_get_viewdef('deliveries'::regclass) || pg_get_viewdef('payments'::regclass)
UNION ALL SELECT relname || array_to_string(ARRAY(SELECT unnest(relacl)::text ORDER BY 1), ' ') FROM pg_class
    WHERE relname IN ('orders', 'deliveries', 'payments')
ORDER BY 1
"""
_BY_DATE = """
ALTER TABLE order_items DROP CONSTRAINT order_items_order_uid_fkey;
ALTER TABLE orders RENAME TO orders_before;
CREATE TABLE orders (LIKE orders_before INCLUDING DEFAULTS, PRIMARY KEY (order_uid, date_created))
    PARTITION BY RANGE (date_created);
CREATE TABLE orders_all PARTITION OF orders DEFAULT;
"""


async def test_orders_partitioned_as_described_are_ingested_changed_and_found(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, orders: OrderGenerator
) -> None:
    """Stored before or after: repeats, changes, lookups, search, trace, doctor, offsets and migrate work as before."""
    before, after = [orders.order() for _ in range(20)], [orders.order() for _ in range(20)]
    engine = await orderflow.start("engine", "--workers", "1")
    await send(settings, *map(message, before), partition=0)
    await consumed(database, 20)
    assert await engine.stop() == 0
    await database.execute("GRANT SELECT ON orders, deliveries TO pg_monitor; GRANT UPDATE ON orders TO PUBLIC")
    shape = [row[0] for row in await database.fetch(_SHAPE)]
    items = await database.fetchval("SELECT count(*) FROM order_items")

    await database.execute(RECIPE)

    assert [row[0] for row in await database.fetch(_SHAPE)] == shape
    assert await database.fetchval("SELECT count(DISTINCT tableoid) FROM orders") > 1
    assert await database.fetchval("SELECT count(*) FROM deliveries JOIN payments USING (order_uid)") == 20
    assert await database.fetchval("SELECT count(*) FROM order_items") == items

    engine = await orderflow.start("engine", "--workers", "1")
    server = await orderflow.start("serve")
    await server.wait_for("http_listening")
    changes = [{**order, "sm_id": order["sm_id"] + 1} for order in (before[0], after[0])]
    for sent, wanted in ((after, 40), (before + after, 80), (changes, 82), ([*changes, orders.order()], 85)):
        await send(settings, *map(message, sent), partition=0)
        await consumed(database, wanted)
    assert await letters(database) == []
    counts = "SELECT sum(inserted)::int, sum(changed)::int, sum(unchanged)::int FROM batches"
    assert tuple(await database.fetchrow(counts)) == (41, 2, 42)
    uid = changes[0]["order_uid"]
    assert await database.fetchval("SELECT sm_id FROM orders WHERE order_uid = $1", uid) == changes[0]["sm_id"]

    async with ClientSession(f"http://{settings.http_address}") as client:
        async with client.get(f"/order/{uid}") as answer:
            assert (await answer.json())["sm_id"] == changes[0]["sm_id"]
        async with client.get("/orders", params={"customer_id": changes[0]["customer_id"]}) as answer:
            assert uid in await answer.text()
    for command in (["trace", uid], ["doctor"], ["offsets", "show"], ["migrate"]):
        finished = await orderflow.run(*command)
        assert finished.returncode == 0, finished.stdout + finished.stderr
    assert await engine.stop() == 0


async def test_repeats_are_recognised_whatever_the_unique_index_is_called(database: asyncpg.Connection) -> None:
    """After the primary key was renamed, or replaced by a unique index."""
    order = make_order(OrderGenerator(3))
    for statement in (
        "ALTER TABLE orders RENAME CONSTRAINT orders_pkey TO the_key",
        """ALTER TABLE order_items DROP CONSTRAINT order_items_order_uid_fkey;
           ALTER TABLE orders DROP CONSTRAINT the_key; CREATE UNIQUE INDEX of_uid ON orders (order_uid)""",
    ):
        await database.execute(statement)
        await write(database, order)
        assert len((await write(database, order)).stale) == 1


async def write(database: asyncpg.Connection, *orders: Any, writer: OrderWriter | None = None) -> Any:
    """Write a batch as the engine does: again, after a rollback, while it is asked to."""
    writer = writer or OrderWriter()
    for _ in range(10):
        try:
            async with database.transaction():
                return await writer.write(database, batch_of(list(orders)))
        except RewriteBatch:
            continue
    raise AssertionError("it was rewritten again and again")


async def test_orders_that_another_unique_index_refuses_are_refused_as_data(database: asyncpg.Connection) -> None:
    """The error reaches the engine, which finds the culprit; the writer goes on with the others."""
    generator, writer = OrderGenerator(4), OrderWriter()
    first = make_order(generator)
    same_track = make_order(generator, track_number=first.track_number)
    await database.execute("CREATE UNIQUE INDEX one_track ON orders (track_number)")
    await write(database, first, writer=writer)
    for _ in range(2):
        with pytest.raises(UniqueViolationError, match="one_track"):
            await write(database, make_order(generator), same_track, writer=writer)
    assert len((await write(database, make_order(generator), first, writer=writer)).inserts) == 1


async def test_an_order_that_another_worker_stores_in_between_is_a_repeat(
    database: asyncpg.Connection, environment: dict[str, str]
) -> None:
    """However often that happens to one batch: each try finds one more order stored."""
    generator = OrderGenerator(6)
    raced = [make_order(generator) for _ in range(5)]
    other = await connect(environment)

    class Overtaken(OrderWriter):
        """Each time that it has read the stored orders, another worker stores one more."""

        async def _stored(self, *arguments: Any) -> Any:
            stored = await super()._stored(*arguments)
            if len(stored) < len(raced):
                await write(other, raced[len(stored)])
            return stored

    try:
        await write(other, raced[0])
        plan = await write(database, *raced, writer=Overtaken())
    finally:
        await other.close()
    assert plan.inserts == []
    assert await database.fetchval("SELECT count(*) FROM orders") == 5


async def test_orders_without_a_unique_index_on_their_uid_are_refused_at_the_start(
    orderflow: Programs, database: asyncpg.Connection
) -> None:
    """Partitioned by date, they have none: the programs end with code 3, and doctor says the same."""
    await database.execute(_BY_DATE)
    for command in (["engine"], ["serve"], ["doctor"]):
        finished = await orderflow.run(*command)
        assert finished.returncode == (1 if command == ["doctor"] else 3)
        assert "no unique index on exactly (order_uid)" in finished.stdout + finished.stderr


async def test_only_an_index_that_makes_every_uid_unique_counts(database: asyncpg.Connection) -> None:
    """Whatever its name is."""
    await database.execute("ALTER TABLE orders DROP CONSTRAINT orders_pkey CASCADE")
    for index, counts in (
        ("UNIQUE INDEX other ON orders (order_uid)", True),
        ("UNIQUE INDEX other ON orders (order_uid) INCLUDE (sm_id)", True),
        ("UNIQUE INDEX other ON orders (order_uid, entry)", False),
        ("UNIQUE INDEX other ON orders (lower(order_uid))", False),
        ("UNIQUE INDEX other ON orders (order_uid) WHERE sm_id > 0", False),
        ("INDEX other ON orders (order_uid)", False),
    ):
        await database.execute(f"CREATE {index}")
        with nullcontext() if counts else pytest.raises(CannotStart, match="no unique index on exactly"):
            await check_unique_key(database)
        await database.execute("DROP INDEX other")
