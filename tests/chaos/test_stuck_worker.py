"""Workers that live and make no progress: the supervisor replaces them."""

from datetime import datetime
from pathlib import Path

import asyncpg
import pytest

from engine.processes.supervisor import HEARTBEAT_TIMEOUT_S
from tests.chaos.engines import armed, drain, shared_out, started
from tests.chaos.fault_run import FaultRun
from tests.support.programs import Programs, Running

HANGING = Path(__file__).parent / "hanging"
NOISE_S = 10.0
"""How late a supervisor may notice on a machine that others use too."""


async def replaced(engine: Running, fault_run: FaultRun, database: asyncpg.Connection) -> str:
    """Wait until a stuck worker was killed and its replacement consumes; return what it was killed for."""
    stuck = await engine.wait_for("worker_stuck", timeout_s=60)
    await fault_run.load_goes_on()
    fault_run.healed()
    died = await engine.wait_for("worker_died")
    assert (died["exit_code"], died["killed_for"]) == (-9, stuck["reason"])
    await engine.wait_for("worker_started", count=3, timeout_s=40)
    await shared_out(database, among=2)
    return str(stuck["reason"])


def seconds_until_stuck(engine: Running, fired: Path) -> float:
    """Return how long after its shot the stuck worker was found out."""
    [shot] = fired.iterdir()
    return datetime.fromisoformat(engine.seen("worker_stuck")[0]["time"]).timestamp() - shot.stat().st_mtime


@pytest.mark.fault("4", "an event loop blocked by a handler")
async def test_a_worker_whose_event_loop_is_blocked_is_replaced_within_the_limit(
    orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection, tmp_path: Path
) -> None:
    """It beats no more, so it is killed when its silence has lasted too long; another goes on with its partitions."""
    engine = await started(orderflow, 2, **armed("after-commit=block@10", tmp_path))
    reasons = []

    async def one_loop_blocks() -> None:
        reasons.append(await replaced(engine, fault_run, database))

    report = await fault_run.under_load(one_loop_blocks, messages=2000, per_second=500)
    assert report.violations == []
    assert reasons == [f"no heartbeat for {HEARTBEAT_TIMEOUT_S:g} s"]
    blocked_s = seconds_until_stuck(engine, tmp_path)
    fault_run.remark = f"found out after {blocked_s:.1f} s"
    assert blocked_s <= HEARTBEAT_TIMEOUT_S + NOISE_S
    await drain(engine)


@pytest.mark.fault("4", "a step that passes its deadline")
async def test_a_worker_that_hangs_in_a_step_is_replaced(
    orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection, tmp_path: Path
) -> None:
    """It beats, and says itself that its step is overdue; the batch that hung is written by whoever comes next."""
    engine = await started(orderflow, 2, PYTHONPATH=str(HANGING), HANG_ONCE=str(tmp_path))
    reasons = []

    async def one_write_hangs() -> None:
        reasons.append(await replaced(engine, fault_run, database))

    report = await fault_run.under_load(one_write_hangs, messages=2000, per_second=500)
    assert report.violations == []
    assert reasons == ["step write is overdue"]
    fault_run.remark = f"found out after {seconds_until_stuck(engine, tmp_path):.1f} s"
    await drain(engine)
