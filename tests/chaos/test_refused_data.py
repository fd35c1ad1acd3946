"""Poison that only PostgreSQL sees, in the middle of batches of good orders."""

from typing import Any

import asyncpg
import pytest
from msgspec import json

from orderflow.orders import OrderGenerator
from orderflow.settings import Settings
from tests.chaos.checker import drained, last_offsets
from tests.chaos.engines import drain
from tests.chaos.fault_run import FaultRun
from tests.chaos.ledger import Sent
from tests.support.programs import Programs
from tests.support.topic import send

BATCH = 300
POISONED = {0: {0}, 1: {BATCH // 2}, 2: {BATCH - 1}, 3: {17, 200}}
"""Where the poison stands in each partition's batch: first, in the middle, last, and in two places."""
RULE = "ALTER TABLE orders ADD CONSTRAINT no_poison CHECK (entry <> 'POISON')"


def made(generator: OrderGenerator, poison: bool) -> dict[str, Any]:
    """Return an order that is valid, and that the rule forbids if it is `poison`."""
    order = {**generator.order(), "sm_id": 1}
    return {**order, "entry": "POISON"} if poison else order


@pytest.mark.fault("12", "poison that only PostgreSQL sees: first, middle, last, and twice in a batch")
async def test_only_what_postgresql_refuses_becomes_a_dead_letter(
    orderflow: Programs, fault_run: FaultRun, settings: Settings, database: asyncpg.Connection
) -> None:
    """Exactly the poisoned orders are dead letters; each of their neighbours is stored, once."""
    await database.execute(RULE)
    generator, ledger = OrderGenerator(fault_run.seed), fault_run.ledger()
    for partition, places in POISONED.items():
        orders = [made(generator, poison=position in places) for position in range(BATCH)]
        sent = await send(
            settings, *((order["order_uid"].encode(), json.encode(order)) for order in orders), partition=partition
        )
        for order, (_, offset) in zip(orders, sent, strict=True):
            ledger.sent.append(Sent(order["order_uid"], int(order["entry"] != "POISON"), partition, offset))

    engine = await orderflow.start("engine", "--workers", "1")
    await drained(settings, last_offsets(ledger.sent))
    fault_run.report = await fault_run.check(ledger)
    assert fault_run.report.violations == []
    rows = await database.fetch("SELECT partition, kafka_offset, reason FROM dead_letters ORDER BY 1, 2")
    poisoned = [(partition, place) for partition, places in POISONED.items() for place in sorted(places)]
    assert [(row["partition"], row["kafka_offset"]) for row in rows] == poisoned
    assert {row["reason"] for row in rows} == {"refused_by_database"}
    await drain(engine)
