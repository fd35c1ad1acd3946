"""A Redis that comes back from an old snapshot, with answers that were replaced since."""

import pytest
from redis.asyncio import Redis

from orderflow.services import ServiceSet
from tests.chaos.checker import CACHE_SETTLES_S
from tests.chaos.fault_run import FaultRun
from tests.support.programs import Programs


@pytest.mark.fault("18", "Redis killed and restored from an old snapshot")
async def test_a_restored_redis_soon_forgets_the_answers_that_were_replaced(
    orderflow: Programs, fault_run: FaultRun, services: ServiceSet, redis: Redis
) -> None:
    """What was cached after the snapshot is lost with the server: old answers come back, and are taken out again."""
    engine = await orderflow.start("engine", "--workers", "2")
    await engine.wait_for("partition_opened", count=4)
    await engine.wait_for("cache_recovered")
    ledger = fault_run.ledger(change_share=0.4)

    async def restore_an_old_snapshot() -> None:
        await engine.wait_for("batch_committed", count=5)
        await redis.save()
        await engine.wait_for("batch_committed", count=len(engine.seen("batch_committed")) + 20)
        await services.valkey.kill()
        await services.valkey.start()
        fault_run.healed()

    report = await fault_run.under_load(restore_an_old_snapshot, ledger=ledger, messages=2500, per_second=400)
    assert report.violations == []
    recovered = await engine.wait_for("cache_recovered", count=2, timeout_s=CACHE_SETTLES_S)
    assert recovered["dropped"] > 0, "the snapshot held no old answer: this run has shown nothing"
    assert await engine.stop() == 0
