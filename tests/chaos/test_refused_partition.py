"""A partition whose stored offset the broker has no more: it is refused by itself, and its neighbours go on."""

import asyncio

import asyncpg
import pytest

from orderflow.start.settings import Settings
from tests.chaos.checker import stored_offsets
from tests.chaos.engines import workers
from tests.chaos.partitions import (
    ALL,
    made_orders,
    none_refused,
    send_orders,
    share_of_a_core,
    until_at_end,
    until_refused,
    until_stored,
)
from tests.support.brokers.operator import operator_of
from tests.support.isolation import PARTITIONS
from tests.support.programs import Programs

pytestmark = pytest.mark.usefixtures("nothing_unretrieved")
GONE = 1
OTHERS = [partition for partition in ALL if partition != GONE]
BACKLOG = 1200
SOON_S = 15.0
WATCHED_S = 4.0
IDLE_SHARE = 0.05


@pytest.mark.fault("29", "records deleted past one partition's offset, the group unknown to Kafka")
async def test_a_partition_out_of_range_neither_starves_its_neighbours_nor_keeps_the_worker_busy(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """The others complete, the worker idles then, `skip` says that it does not help, and a reset does."""
    operator = operator_of(settings)
    first = made_orders(101, 40)
    for partition in ALL:
        await send_orders(settings, first[partition::PARTITIONS], partition)
    engine = await orderflow.start("engine", "--workers", "1")
    await until_at_end(database, settings)
    assert await engine.stop(timeout_s=30) == 0
    stored = (await stored_offsets(database, settings))[GONE]
    backlog = made_orders(102, BACKLOG)
    await asyncio.gather(
        *(send_orders(settings, backlog[partition::PARTITIONS], partition) for partition in ALL),
    )
    await operator.delete_records(settings.kafka_topic, {GONE: stored + 5})
    await operator.delete_group(settings.kafka_group_id)

    engine = await orderflow.start("engine", "--workers", "1")
    await engine.wait_for("worker_started")
    await until_at_end(database, settings, OTHERS, SOON_S)
    refused = await until_refused(engine, database, GONE, "out_of_range")
    assert refused["offset"] == stored
    assert "orderflow offsets reset" in refused["fix"]
    assert await share_of_a_core(workers(engine), WATCHED_S) < IDLE_SHARE

    skipped = await orderflow.run("offsets", "skip", "--partition", str(GONE), "--yes")
    assert skipped.returncode == 1
    assert "orderflow offsets reset" in skipped.stderr
    assert (await stored_offsets(database, settings))[GONE] == stored
    reset = await orderflow.run("offsets", "reset", "--partition", str(GONE), "--yes")
    assert reset.returncode == 0, reset.stderr
    await until_at_end(database, settings)
    await until_stored(database, backlog[GONE::PARTITIONS][5:])
    await none_refused(database)
    assert await engine.stop(timeout_s=30) == 0


@pytest.mark.fault("29", "offsets skipped on a partition that is not refused")
async def test_a_partition_that_is_well_is_not_skipped(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Not even with an offset: nothing is changed, and nothing is lost."""
    orders = made_orders(103, 3)
    await send_orders(settings, orders, GONE)
    engine = await orderflow.start("engine", "--workers", "1")
    await until_stored(database, orders)
    for more in ([], ["--to", "2"]):
        skipped = await orderflow.run("offsets", "skip", "--partition", str(GONE), "--yes", *more)
        assert skipped.returncode == 1, skipped.stderr
        assert "offsets_skipped" not in skipped.stderr
    assert (await stored_offsets(database, settings))[GONE] == 3
    assert await engine.stop(timeout_s=30) == 0
