"""What the engine and the cache keep of batches beside the orders: little at any rate, and not for ever."""

import asyncpg
from msgspec import json

from engine.actors.identity import Identity
from engine.postgres.batches import BatchHistory
from engine.postgres.link import Link
from orderflow.start.connections import postgres_options
from orderflow.start.settings import Settings
from tests.support.eventually import consumed, eventually
from tests.support.programs import Programs

# Of the rows alone: so small a table's pages and indexes say nothing of a large one's.
_BYTES = """
SELECT (SELECT sum(pg_column_size(o)) FROM orders o) + (SELECT sum(pg_column_size(i)) FROM order_items i) AS orders,
       (SELECT sum(pg_column_size(b)) FROM batches b) + (SELECT sum(pg_column_size(c)) FROM cached_batches c) AS kept
"""
_UPDATES = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'batches'"
_BATCH = """
INSERT INTO batches (batch_id, consumer_group, topic, worker, host, sources, consumed_at, validated_at, committed_at,
                     messages, inserted, changed, unchanged, rejected)
SELECT gen_random_uuid(), $1, $2, 'worker-0', 'host', '[]', at, at, at, 1, 1, 0, 0, 0
FROM (SELECT now() - make_interval(secs => $3) AS at) AS moment
"""
ORDERS = 800


async def test_a_steady_trickle_of_orders_makes_a_row_for_many_of_them(
    orderflow: Programs, database: asyncpg.Connection
) -> None:
    """At 200/s: a tenth of a row an order at most, a twentieth of their bytes, and no index that has to follow."""
    engine = await orderflow.start("engine", "--workers", "2")
    await engine.wait_for("partition_opened", count=4)
    published = await orderflow.run("publish", str(ORDERS), "--rate", "200")
    assert published.returncode == 0, published.stderr
    await consumed(database, ORDERS)
    assert await engine.stop() == 0
    assert await database.fetchval("SELECT count(*) FROM batches") <= ORDERS / 10
    assert await database.fetchval("SELECT count(*) FROM batches WHERE ended_at = 'infinity'") == 0
    sizes = await database.fetchrow(_BYTES)
    assert sizes is not None
    assert sizes["kept"] <= sizes["orders"] / 20
    updates = await eventually(lambda: database.fetchrow(_UPDATES), lambda found: found["n_tup_upd"] > 0)
    assert updates["n_tup_hot_upd"] == updates["n_tup_upd"]


async def test_each_order_of_a_trickle_has_its_story(orderflow: Programs, database: asyncpg.Connection) -> None:
    """Though batches share rows: who stored it, from which message, and when, in the order in which things happened."""
    engine = await orderflow.start("engine", "--workers", "1")
    await engine.wait_for("partition_opened", count=4)
    published = await orderflow.run("publish", "40", "--rate", "100")
    await consumed(database, 40)
    assert await engine.stop() == 0
    assert await database.fetchval("SELECT count(*) FROM batches WHERE ended_at IS NOT NULL") > 0
    for uid in published.lines[1:-1:8]:
        traced = await orderflow.run("trace", uid, "--json")
        assert traced.returncode == 0, traced.stderr
        story = json.decode(traced.stdout)
        assert story["source"]["came_as"] == "message"
        assert story["batch"]["worker"] == "worker-0"
        times = [step["at"] for step in story["steps"]]
        assert times == sorted(times)


async def test_old_batches_go_by_themselves(settings: Settings, database: asyncpg.Connection) -> None:
    """After BATCH_HISTORY_S, of the worker's own group and topic."""
    identity = Identity(settings.kafka_group_id, settings.kafka_topic, "worker-0", "host")
    link = Link(postgres_options(settings))
    history = BatchHistory(identity, link, link, kept_s=60)
    for group, age_s in ((identity.group, 30), (identity.group, 90), ("another", 90)):
        await database.execute(_BATCH, group, settings.kafka_topic, float(age_s))
    await database.execute("INSERT INTO cached_batches SELECT batch_id, now() FROM batches")
    try:
        assert await history.forget() == 1
    finally:
        await link.close()
    left = await database.fetch("SELECT consumer_group FROM batches JOIN cached_batches USING (batch_id) ORDER BY 1")
    assert sorted(row["consumer_group"] for row in left) == sorted([identity.group, "another"])
