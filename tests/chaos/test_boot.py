"""Workers that die while they boot, again and again, or that cannot start at all."""

from datetime import datetime
from pathlib import Path

import pytest

from tests.chaos.engines import armed, drain, started, strays, workers
from tests.chaos.fault_run import FaultRun
from tests.support.programs import Programs, Running

RESTART_MAX = 5


def pauses(engine: Running) -> list[tuple[float, float]]:
    """Return, for each restart, its delay and how long after the death before it the worker died again, in seconds."""
    found = []
    for name in {restart["worker"] for restart in engine.seen("worker_restarting")}:
        restarts = engine.seen("worker_restarting", worker=name)
        deaths = [datetime.fromisoformat(death["time"]) for death in engine.seen("worker_died", worker=name)]
        for restart, death, next_death in zip(restarts, deaths, deaths[1:], strict=False):
            found.append((restart["delay_s"], (next_death - death).total_seconds()))
    assert found
    return found


@pytest.mark.fault("5", "workers that die at boot, again and again")
async def test_a_supervisor_gives_up_on_workers_that_die_at_boot(orderflow: Programs, fault_run: FaultRun) -> None:
    """It waits longer and longer between restarts, then exits 1 and leaves no process; another engine goes on."""
    healthy = await started(orderflow, 1)

    async def another_engine_cannot_boot() -> None:
        broken = await orderflow.start(
            "engine", "--workers", "2", **armed("at-boot=kill"), RESTART_MAX=str(RESTART_MAX)
        )
        assert await broken.ended(timeout_s=60) == 1
        assert {death["exit_code"] for death in broken.seen("worker_died")} == {-9}
        delays = [restart["delay_s"] for restart in broken.seen("worker_restarting")]
        assert len(delays) == RESTART_MAX
        assert delays == sorted(delays)
        assert delays[-1] > 8 * delays[0]
        assert all(lived_s >= delay_s for delay_s, lived_s in pauses(broken))
        [gave_up] = broken.seen("supervisor_gave_up")
        assert gave_up["exit_code"] == 1
        assert strays(orderflow, healthy) == []
        fault_run.remark = f"gave up after {len(delays)} restarts, delays from {delays[0]} to {delays[-1]} s"

    report = await fault_run.under_load(another_engine_cannot_boot, messages=2000, per_second=400)
    assert report.violations == []
    await drain(healthy)


@pytest.mark.fault("5", "a worker that cannot start (exit code 3)")
async def test_a_worker_that_cannot_start_is_not_restarted(
    orderflow: Programs, fault_run: FaultRun, tmp_path: Path
) -> None:
    """Somebody spoils a setting while the engine runs: its next worker exits 3, and so does the engine, at once."""
    healthy = await started(orderflow, 1)

    async def a_setting_is_spoilt() -> None:
        spoilt = await started(orderflow, 2)
        (tmp_path / ".env").write_text("BATCH_MAX_ORDERS=many\n")
        workers(spoilt)[0].kill()
        assert await spoilt.ended(timeout_s=60) == 3
        assert [death["exit_code"] for death in spoilt.seen("worker_died")] == [-9, 3]
        assert len(spoilt.seen("worker_restarting")) == 1
        assert "BATCH_MAX_ORDERS" in "\n".join(spoilt.stderr_lines)
        assert strays(orderflow, healthy) == []

    report = await fault_run.under_load(a_setting_is_spoilt, messages=2000, per_second=400)
    assert report.violations == []
    await drain(healthy)
