"""Workers and supervisors that die without warning, under load."""

import asyncio
import signal

import psutil
import pytest

from tests.chaos.fault_run import FaultRun
from tests.support.programs import Programs, Running


def workers(engine: Running) -> list[psutil.Process]:
    """Return the engine's living worker processes."""
    return [process for process in engine.children if "worker" in process.cmdline()]


@pytest.mark.fault("2", "kill -9 of a worker, four times", short=True)
async def test_nothing_is_lost_or_repeated_when_workers_are_killed_under_load(
    orderflow: Programs, fault_run: FaultRun
) -> None:
    """Four kill -9 under load lose no order, repeat none, and leave no stale answer."""
    engine = await orderflow.start("engine", "--workers", "2")
    await engine.wait_for("worker_started", count=2)
    await engine.wait_for("partition_opened", count=4)

    async def kill_four_times() -> None:
        for kills in range(1, 5):
            await engine.wait_for("batch_committed", count=len(engine.seen("batch_committed")) + 3)
            started = len(engine.seen("worker_started"))
            workers(engine)[0].send_signal(signal.SIGKILL)
            fault_run.healed()
            await engine.wait_for("worker_restarting", count=kills)
            await engine.wait_for("worker_started", count=started + 1)

    report = await fault_run.under_load(kill_four_times, messages=8000, per_second=400)
    assert report.violations == []
    assert await engine.stop(timeout_s=30) == 0


@pytest.mark.fault("6", "kill -9 of the supervisor", short=True)
async def test_workers_end_by_themselves_when_their_supervisor_is_killed(orderflow: Programs) -> None:
    """A supervisor that is killed leaves no orphan behind."""
    engine = await orderflow.start("engine", "--workers", "2", SHUTDOWN_TIMEOUT_S="5")
    await engine.wait_for("worker_started", count=2)
    orphans = workers(engine)
    assert len(orphans) == 2
    engine.send_signal(signal.SIGKILL)
    _, alive = await asyncio.to_thread(psutil.wait_procs, orphans, 15)
    assert alive == []
