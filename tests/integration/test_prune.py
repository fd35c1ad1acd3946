"""`orderflow prune`: what has had its time goes, and what is still needed stays."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from orderflow.operating import retention
from orderflow.operating.retention import KEPT_BATCHES, STEP_ROWS
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.letters import letters, message, store_letter
from tests.support.programs import Finished, Programs, Running
from tests.support.topic import send

_STORE_BATCHES = """
INSERT INTO batches (batch_id, consumer_group, topic, worker, host, sources, consumed_at, validated_at, committed_at,
                     cached_at, messages, inserted, changed, unchanged, rejected, changed_keys)
SELECT gen_random_uuid(), $1, $2, 'worker-0', 'host', '[]', committed_at, committed_at, committed_at,
       CASE WHEN NOT $4 THEN committed_at END, 1, 1, 0, 0, 0, CASE WHEN $4 THEN '{uid}'::text[] ELSE '{}' END
FROM generate_series($5::timestamptz, $5::timestamptz + ($3 - 1) * interval '1 second', interval '1 second')
     AS committed_at
"""
OLD_OFFSETS = "SELECT kafka_offset FROM dead_letters ORDER BY kafka_offset"


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


async def store_batches(
    database: asyncpg.Connection, settings: Settings, count: int, since: datetime, *, undone: bool = False, **scope: str
) -> None:
    """Store batches, one a second from `since` on."""
    group, topic = scope.get("group", settings.kafka_group_id), scope.get("topic", settings.kafka_topic)
    await database.execute(_STORE_BATCHES, group, topic, count, undone, since)


async def store_resolved(database: asyncpg.Connection, settings: Settings, days: float, **columns: Any) -> None:
    """Store a letter that failed and was published a day before it was resolved."""
    resolved_at = days_ago(days)
    failed_at = resolved_at - timedelta(days=1)
    times = {"failed_at": failed_at, "published_at": failed_at, "resolved_at": resolved_at}
    await store_letter(database, settings, **times | columns)


def told(finished: Finished) -> str:
    assert finished.returncode == 0, finished.stderr
    [line] = finished.lines
    return line


async def count_batches(database: asyncpg.Connection, where: str = "true") -> int:
    count: int = await database.fetchval(f"SELECT count(*) FROM batches WHERE {where}")
    return count


async def test_only_letters_that_were_resolved_long_ago_go(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Thirty days unless told otherwise; a dry run tells the same and changes nothing."""
    await store_resolved(database, settings, 31, kafka_offset=1)
    await store_resolved(database, settings, 300, kafka_offset=2, published_at=None, publish_error="too large")
    await store_resolved(database, settings, 29, kafka_offset=10)
    await store_resolved(database, settings, 31, kafka_offset=11, resolved_at=None)
    await store_resolved(database, settings, 31, kafka_offset=12, published_at=None)
    await store_resolved(database, settings, 31, kafka_offset=13, replayed_at=days_ago(0.01))
    await store_resolved(database, settings, 31, kafka_offset=14, topic="another")
    dry = told(await orderflow.run("prune", "--dry-run"))
    assert dry.startswith("Would delete 2 resolved dead letters and 0 batches from before ")
    assert len(await letters(database)) == 7

    assert told(await orderflow.run("prune")).startswith("Deleted 2 resolved dead letters and 0 batches from before ")
    assert [row["kafka_offset"] for row in await database.fetch(OLD_OFFSETS)] == [10, 11, 12, 13, 14]
    sooner = told(await orderflow.run("prune", "--older-than", "4w"))
    assert sooner.startswith("Deleted 1 resolved dead letter and 0 batches from before ")
    assert [row["kafka_offset"] for row in await database.fetch(OLD_OFFSETS)] == [11, 12, 13, 14]


async def test_only_old_batches_go(orderflow: Programs, settings: Settings, database: asyncpg.Connection) -> None:
    """Neither recent ones, nor another group's or topic's, nor where an older build noted what the cache lacks."""
    await store_batches(database, settings, 50, days_ago(40))
    await store_batches(database, settings, 3, days_ago(41), undone=True)
    await store_batches(database, settings, 20, days_ago(40), group="another")
    await store_batches(database, settings, 20, days_ago(40), topic="another")
    await store_batches(database, settings, KEPT_BATCHES, days_ago(2))
    dry = told(await orderflow.run("prune", "--dry-run"))
    assert dry.startswith("Would delete 0 resolved dead letters and 50 batches from before ")
    assert told(await orderflow.run("prune")).startswith("Deleted 0 resolved dead letters and 50 batches from before ")
    assert await count_batches(database, "cached_at IS NULL") == 3
    assert await count_batches(database) == 3 + 20 + 20 + KEPT_BATCHES


async def test_the_newest_batches_stay_however_old_they_are(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """A group that rested for long keeps its last ones, and one that has few keeps them all."""
    await store_batches(database, settings, KEPT_BATCHES, days_ago(50))
    assert " and 0 batches " in told(await orderflow.run("prune"))
    await store_batches(database, settings, 7, days_ago(60))
    assert " and 7 batches " in told(await orderflow.run("prune", "--dry-run"))
    assert " and 7 batches " in told(await orderflow.run("prune"))
    assert await count_batches(database) == KEPT_BATCHES


async def test_many_go_in_many_steps(orderflow: Programs, settings: Settings, database: asyncpg.Connection) -> None:
    """More than fit into two steps, of the same moment too, with some among them that stay."""
    rows = 2 * STEP_ROWS + 5
    await store_batches(database, settings, rows, days_ago(40))
    await store_batches(database, settings, 30, days_ago(40), undone=True)
    await store_batches(database, settings, KEPT_BATCHES, days_ago(1))
    await store_resolved(database, settings, 40)
    await database.execute(
        """
        INSERT INTO dead_letters (topic, partition, kafka_offset, reason, produced_at, failed_at, batch_id,
                                  consumer_group, published_at, resolved_at)
        SELECT topic, 1, number, reason, produced_at, failed_at, batch_id, consumer_group, published_at,
               CASE WHEN number % 10 > 0 THEN resolved_at END
        FROM dead_letters, generate_series(1, $1) AS number
        """,
        3 * STEP_ROWS,
    )
    done = told(await orderflow.run("prune"))
    assert done.startswith(f"Deleted {3 * STEP_ROWS * 9 // 10 + 1} resolved dead letters and {rows} batches from ")
    assert len(await letters(database)) == 3 * STEP_ROWS // 10
    assert await count_batches(database) == 30 + KEPT_BATCHES


async def test_what_is_in_use_is_left_for_the_next_time(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Rows that another session has locked are not waited for."""
    for offset in (1, 2):
        await store_resolved(database, settings, 31, kafka_offset=offset)
    await store_batches(database, settings, 2, days_ago(40))
    await store_batches(database, settings, KEPT_BATCHES, days_ago(1))
    async with database.transaction():
        await database.execute("SELECT FROM dead_letters WHERE kafka_offset = 1 FOR UPDATE")
        await database.execute("SELECT FROM batches ORDER BY committed_at LIMIT 1 FOR UPDATE")
        assert told(await orderflow.run("prune")).startswith("Deleted 1 resolved dead letter and 1 batch from before ")
    assert told(await orderflow.run("prune")).startswith("Deleted 1 resolved dead letter and 1 batch from before ")


async def test_an_order_outlives_its_batch(
    engine: Running, orderflow: Programs, settings: Settings, database: asyncpg.Connection, orders: OrderGenerator
) -> None:
    """It keeps the batch's id, and a later version of it is taken as ever."""
    order = orders.order()
    uid = order["order_uid"]
    await send_version(settings, order, 1)
    first = await engine.wait_for("orders_committed")
    await eventually(lambda: database.fetchval("SELECT count(*) FROM cached_batches"), (1).__eq__)
    await database.execute("UPDATE batches SET committed_at = $1", days_ago(31))
    await store_batches(database, settings, KEPT_BATCHES, days_ago(1))
    assert " and 1 batch " in told(await orderflow.run("prune"))
    assert await database.fetchval("SELECT batch_id FROM orders WHERE order_uid = $1", uid) == UUID(first["batch_id"])
    assert await database.fetchval("SELECT count(*) FROM cached_batches") == 0
    await send_version(settings, order, 2)
    await engine.wait_for("orders_committed", count=2)
    assert await database.fetchval("SELECT sm_id FROM orders WHERE order_uid = $1", uid) == 2


async def send_version(settings: Settings, order: dict[str, Any], version: int) -> None:
    await send(settings, message(order, sm_id=version))


@pytest.mark.parametrize(
    ("statement", "arguments", "index"),
    [
        ("_DELETE_LETTERS", ["topic", datetime.fromtimestamp(0, UTC), STEP_ROWS], "dead_letters_resolved_at_idx"),
        ("_DELETE_BATCHES", ["topic", "group", datetime.fromtimestamp(0, UTC), STEP_ROWS], "batches_of_a_group_idx"),
        ("_OLDEST_KEPT", None, "batches_of_a_group_idx"),
    ],
)
async def test_a_step_reads_no_more_than_it_deletes(
    database: asyncpg.Connection, settings: Settings, statement: str, arguments: list[Any] | None, index: str
) -> None:
    """Rows come from an index in the order in which they are deleted: nothing is sorted, and no table read whole."""
    await database.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
    values = ["topic", "group"] if arguments is None else [datetime.now(UTC), *arguments]
    plan = "\n".join(row[0] for row in await database.fetch(f"EXPLAIN {getattr(retention, statement)}", *values))
    assert index in plan
    assert "Sort" not in plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize("moment", ["tomorrow", "2999-01-01T00:00:00Z", "-1d", ""])
async def test_what_is_no_past_moment_is_wrong_usage(orderflow: Programs, moment: str) -> None:
    """Exit 2, and nothing is asked of PostgreSQL."""
    refused = await orderflow.run("prune", "--older-than", moment, POSTGRES_PORT="1")
    assert refused.returncode == 2
    assert "--older-than" in refused.stderr
