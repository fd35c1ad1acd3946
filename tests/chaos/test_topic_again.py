"""The same messages once more, and other messages under the same name."""

import asyncpg
import pytest

from orderflow.start.settings import Settings
from tests.chaos.checker import drained, last_offsets
from tests.chaos.engines import all_open, consumes, drain
from tests.chaos.fault_run import FaultRun
from tests.chaos.ledger import Ledger
from tests.support.eventually import eventually
from tests.support.isolation import PARTITIONS
from tests.support.programs import Programs, Running
from tests.support.topic_admin import create_topic, delete_topic

ORDERS = 1000
_TABLES = ("orders", "order_items", "dead_letters")
_HASH = "SELECT md5(coalesce(string_agg(stored::text, '' ORDER BY stored::text), '')) FROM {} stored"


async def state(database: asyncpg.Connection) -> dict[str, str]:
    """Return a hash of every column of every row of what is stored, by table."""
    return {table: await database.fetchval(_HASH.format(table)) for table in _TABLES}


async def without_publication(database: asyncpg.Connection) -> int:
    """Count the letters that wait for their topic: publishing them changes their rows."""
    return int(await database.fetchval("SELECT count(*) FROM dead_letters WHERE published_at IS NULL"))


async def consumed_whole(engine: Running, fault_run: FaultRun, ledger: Ledger, messages: int) -> None:
    """Publish what is to be consumed once more, or to be replaced, and check that all went well until then."""

    async def nothing_yet() -> None:
        await consumes(engine)

    report = await fault_run.under_load(nothing_yet, ledger=ledger, messages=messages, per_second=1500)
    assert report.violations == []


@pytest.mark.fault("11", "offsets reset to the beginning, everything consumed again")
async def test_everything_consumed_again_changes_nothing(
    orderflow: Programs, fault_run: FaultRun, settings: Settings, database: asyncpg.Connection
) -> None:
    """Every row of orders, items and dead letters is the same to the last column."""
    engine = await all_open(orderflow)
    ledger = fault_run.ledger(change_share=0.2, repeat_share=0.1, invalid_share=0.05)
    await consumed_whole(engine, fault_run, ledger, 3000)
    await eventually(lambda: without_publication(database), lambda waiting: waiting == 0)
    await drain(engine)
    before = await state(database)

    reset = await orderflow.run("offsets", "reset", "--to", "0")
    assert reset.returncode == 0, reset.stderr
    again = await all_open(orderflow)
    await drained(settings, last_offsets(ledger.sent))
    assert await database.fetchval("SELECT sum(messages) FROM batches") == 2 * len(ledger.sent)
    assert await state(database) == before
    await drain(again)


@pytest.mark.fault("11", "the topic deleted, and created anew with other messages")
async def test_another_topic_of_the_same_name_is_not_consumed_unasked(
    orderflow: Programs, fault_run: FaultRun, settings: Settings, database: asyncpg.Connection
) -> None:
    """A running engine refuses it and says what to do; after the reset it consumes all of it, without a restart."""
    engine = await all_open(orderflow)
    ledger = fault_run.ledger(change_share=0, repeat_share=0, invalid_share=0)
    await consumed_whole(engine, fault_run, ledger, ORDERS)
    stored = await state(database)
    orders = len(ledger.sent)

    await delete_topic(settings, settings.kafka_topic)
    await create_topic(settings, settings.kafka_topic, PARTITIONS)
    others = FaultRun(settings, fault_run.seed + 1).ledger(change_share=0, repeat_share=0, invalid_share=0)
    await others.publish(3 * orders)  # so many that every stored offset is one of the new topic's, too
    refused = [
        await engine.wait_for("partition_refused", partition=partition, timeout_s=60) for partition in range(PARTITIONS)
    ]
    assert {line["fix"].rpartition(" ")[0] for line in refused} == {"orderflow offsets reset --partition"}
    assert await state(database) == stored

    reset = await orderflow.run("offsets", "reset")
    assert reset.returncode == 0, reset.stderr
    count = "SELECT count(*) FROM orders"
    await eventually(lambda: database.fetchval(count), lambda seen: seen == orders + len(others.sent), timeout_s=60)
    assert await database.fetchval("SELECT count(*) FROM dead_letters") == 0
    await drain(engine)
