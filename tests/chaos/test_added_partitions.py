"""A topic that is given more partitions while orders flow."""

import asyncio

import asyncpg
import pytest

from orderflow.start.settings import Settings
from tests.chaos.checker import stored_offsets
from tests.chaos.engines import all_open, drain
from tests.chaos.fault_run import FaultRun
from tests.chaos.ledger import Sent
from tests.chaos.partitions import made_orders, send_orders
from tests.support.brokers.operator import operator_of
from tests.support.eventually import eventually
from tests.support.isolation import PARTITIONS
from tests.support.programs import Programs

pytestmark = pytest.mark.usefixtures("nothing_unretrieved")
DOUBLED = 2 * PARTITIONS
WITHIN_S = 30.0


@pytest.mark.fault("31", "partitions added under load")
async def test_added_partitions_are_consumed_soon(
    orderflow: Programs, fault_run: FaultRun, settings: Settings, database: asyncpg.Connection
) -> None:
    """From 4 to 8: a record of each new one is stored within 30 s, and nothing of the old ones is lost."""
    engine = await all_open(orderflow)
    # Changes of an order may be in another partition than before: only what is sent once can be told from it.
    ledger = fault_run.ledger(change_share=0, repeat_share=0)

    async def double() -> None:
        await engine.wait_for("batch_committed", count=10)
        await operator_of(settings).add_partitions(settings.kafka_topic, DOUBLED)
        added_s = asyncio.get_running_loop().time()
        # The producer of the load looks for new partitions every five minutes: these do not wait for it.
        for partition, made in zip(range(PARTITIONS, DOUBLED), made_orders(161, PARTITIONS), strict=True):
            order = {**made, "sm_id": 1}
            [offset] = await send_orders(settings, [order], partition)
            ledger.sent.append(Sent(order["order_uid"], 1, partition, offset))
        wanted = set(range(DOUBLED))

        async def stored() -> set[int]:
            return {place for place, offset in (await stored_offsets(database, settings)).items() if offset > 0}

        await eventually(stored, lambda seen: seen == wanted, WITHIN_S)
        fault_run.remark = f"all consumed after {asyncio.get_running_loop().time() - added_s:.1f} s"

    report = await fault_run.under_load(double, messages=2000, per_second=200, ledger=ledger)
    assert report.violations == []
    await drain(engine)
