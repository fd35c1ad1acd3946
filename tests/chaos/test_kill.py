"""Workers that die without warning, under load."""

import pytest

from tests.chaos.engines import all_open, consumes, drain, workers
from tests.chaos.fault_run import FaultRun
from tests.support.programs import Programs


@pytest.mark.fault("2", "kill -9 of a worker, four times", short=True)
async def test_nothing_is_lost_or_repeated_when_workers_are_killed_under_load(
    orderflow: Programs, fault_run: FaultRun
) -> None:
    """Four kill -9 under load lose no order, repeat none, and leave no stale answer."""
    engine = await all_open(orderflow)

    async def kill_four_times() -> None:
        for kills in range(1, 5):
            await consumes(engine)
            started = len(engine.seen("worker_started"))
            fault_run.random.choice(workers(engine)).kill()
            await fault_run.load_goes_on()
            fault_run.healed()
            await engine.wait_for("worker_restarting", count=kills)
            await engine.wait_for("worker_started", count=started + 1, timeout_s=40)

    report = await fault_run.under_load(kill_four_times, messages=2000, per_second=400)
    assert report.violations == []
    await drain(engine)
