"""A worker that is frozen in the middle of its transaction while others take over."""

from pathlib import Path

import pytest

from tests.chaos.fault_run import FaultRun
from tests.support.programs import Programs


@pytest.mark.fault("3", "a worker frozen while it holds an offset's lock", short=True)
async def test_a_frozen_worker_blocks_nobody_for_long(orderflow: Programs, fault_run: FaultRun, tmp_path: Path) -> None:
    """A zombie holds its offset's row lock: the next owner cuts it off, and nothing is lost, repeated or stale."""
    zombie = await orderflow.start(
        "engine", "--workers", "1", ORDERFLOW_FAILPOINTS="after-copy=freeze@5", ORDERFLOW_FAILPOINTS_FIRED=str(tmp_path)
    )
    await zombie.wait_for("worker_started")
    heir = await orderflow.start("engine", "--workers", "1")
    await heir.wait_for("partition_opened", count=2)

    async def until_the_heir_has_cut_it_off() -> None:
        await heir.wait_for("blocker_terminated", timeout_s=40)
        await heir.wait_for("partition_opened", count=4)

    report = await fault_run.under_load(until_the_heir_has_cut_it_off, messages=3000, per_second=300)
    assert report.violations == []
    assert await heir.stop() == 0
