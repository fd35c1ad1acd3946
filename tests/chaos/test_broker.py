"""A broker that dies and comes back, or stops in the middle of everything, under load."""

import asyncio

import psutil
import pytest

from orderflow.services import ServiceSet
from tests.chaos.fault_run import FaultRun
from tests.support.programs import Programs, Running


async def started(orderflow: Programs) -> Running:
    """Start an engine with two workers, and wait until all partitions are open."""
    engine = await orderflow.start("engine", "--workers", "2")
    await engine.wait_for("worker_started", count=2)
    await engine.wait_for("partition_opened", count=4)
    return engine


@pytest.mark.fault("9", "the broker is killed and started again", short=True)
async def test_consumption_resumes_when_a_killed_broker_is_back(
    orderflow: Programs, fault_run: FaultRun, services: ServiceSet
) -> None:
    """kill -9 of the broker under load: the same workers go on when it is back, and nothing is lost or repeated."""
    engine = await started(orderflow)
    workers = sorted(process.pid for process in engine.children)

    async def kill_and_start() -> None:
        await engine.wait_for("batch_committed", count=10)
        await services.kafka.kill()
        await asyncio.sleep(5)
        await services.kafka.start()

    report = await fault_run.under_load(kill_and_start, messages=6000, per_second=400)
    assert report.violations == []
    assert sorted(process.pid for process in engine.children) == workers
    assert engine.seen("worker_died") == []
    for e in engine.events:
        if e["event"] not in ("batch_committed", "orders_committed", "order_rejected", "dead_letter_published"):
            print(e)
    assert await engine.stop(timeout_s=30) == 0


@pytest.mark.fault("9", "the broker is frozen for longer than the session timeout")
async def test_consumption_resumes_when_a_frozen_broker_goes_on(
    orderflow: Programs, fault_run: FaultRun, services: ServiceSet
) -> None:
    """SIGSTOP of the broker for 8 s: the same workers go on after SIGCONT, and nothing is lost or repeated."""
    engine = await started(orderflow)
    workers = sorted(process.pid for process in engine.children)

    async def freeze_and_thaw() -> None:
        await engine.wait_for("batch_committed", count=10)
        services.kafka.freeze()
        await asyncio.sleep(9)
        services.kafka.thaw()

    report = await fault_run.under_load(freeze_and_thaw, messages=6000, per_second=400)
    assert report.violations == []
    assert sorted(process.pid for process in engine.children) == workers
    for e in engine.events:
        if e["event"] not in ("batch_committed", "orders_committed", "order_rejected", "dead_letter_published"):
            print(e)
    assert await engine.stop(timeout_s=30) == 0
