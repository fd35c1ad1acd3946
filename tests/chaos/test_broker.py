"""A broker that dies and comes back, or stops in the middle of everything, under load."""

import asyncio

import pytest

from orderflow.services import ServiceSet
from tests.chaos.engines import all_open, drain, resumed, worker_pids
from tests.chaos.fault_run import FaultRun
from tests.support.programs import Programs

LONGER_THAN_A_SESSION_S = 9
LOG_LINES_A_SECOND = 20
SOON_S = 18.0
"""Well before the grace period of 30 s ends."""


@pytest.mark.fault("9", "the broker is killed and started again", short=True)
async def test_consumption_resumes_when_a_killed_broker_is_back(
    orderflow: Programs, fault_run: FaultRun, services: ServiceSet
) -> None:
    """kill -9 of the broker under load: it is declared, nobody is flooded with lines, and the same workers go on."""
    engine = await all_open(orderflow)
    workers = worker_pids(engine)

    async def kill_and_start() -> None:
        loop = asyncio.get_running_loop()
        await engine.wait_for("batch_committed", count=10)
        lines, killed = len(engine.events), loop.time()
        await services.kafka.kill()
        await engine.wait_for("outage_started", of="kafka", count=2, timeout_s=40)
        await services.kafka.start()
        fault_run.remark = await resumed(engine)
        await engine.wait_for("outage_ended", of="kafka", count=2)
        assert len(engine.events) - lines < LOG_LINES_A_SECOND * (loop.time() - killed)

    report = await fault_run.under_load(kill_and_start, messages=3000, per_second=400)
    assert report.violations == []
    assert worker_pids(engine) == workers
    assert await engine.stop(timeout_s=30) == 0


@pytest.mark.fault("9", "the broker is frozen for longer than the session timeout")
async def test_consumption_resumes_when_a_frozen_broker_goes_on(
    orderflow: Programs, fault_run: FaultRun, services: ServiceSet
) -> None:
    """SIGSTOP of the broker until it has forgotten its members: the same workers join again and go on."""
    engine = await all_open(orderflow)
    workers = worker_pids(engine)

    async def freeze_and_thaw() -> None:
        await engine.wait_for("batch_committed", count=10)
        services.kafka.freeze()
        await asyncio.sleep(LONGER_THAN_A_SESSION_S)
        services.kafka.thaw()
        fault_run.remark = await resumed(engine)

    report = await fault_run.under_load(freeze_and_thaw, messages=3000, per_second=400)
    assert report.violations == []
    assert worker_pids(engine) == workers
    assert engine.seen("outage_started", of="kafka")
    assert await engine.stop(timeout_s=30) == 0


@pytest.mark.fault("9", "SIGTERM while the broker is frozen")
async def test_an_engine_ends_in_time_while_the_broker_is_frozen(
    orderflow: Programs, fault_run: FaultRun, services: ServiceSet
) -> None:
    """A drain does not wait for a broker that will not answer; whoever starts next goes on where it stopped."""
    engine = await all_open(orderflow)

    async def stop_meanwhile() -> None:
        await engine.wait_for("batch_committed", count=10)
        services.kafka.freeze()
        assert await drain(engine) < SOON_S
        services.kafka.thaw()
        fault_run.healed()
        heir = await all_open(orderflow)
        fault_run.remark = await resumed(heir)

    report = await fault_run.under_load(stop_meanwhile, messages=3000, per_second=300)
    assert report.violations == []
