"""Supervisors that are killed at the worst moments: their workers end by themselves, whatever they are doing."""

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.chaos.engines import all_gone, armed, consumes, drain, kill_supervisor, started, strays, workers
from tests.chaos.fault_run import FaultRun
from tests.support.eventually import eventually
from tests.support.programs import Programs, Running

DRAIN_S = 5.0
"""How long a worker without a supervisor may drain before it ends itself."""
BOOT_S = 30.0
"""How long a worker may take to boot on a machine that others use too."""


async def has_workers(engine: Running, count: int) -> list[psutil.Process]:
    """Wait until the engine has started so many worker processes, and return them."""

    async def look() -> list[psutil.Process]:
        return engine.children

    return await eventually(look, lambda found: len(found) == count, timeout_s=BOOT_S)


@pytest.mark.fault("6", "kill -9 of the supervisor", short=True)
async def test_workers_end_by_themselves_when_their_supervisor_is_killed(
    orderflow: Programs, fault_run: FaultRun
) -> None:
    """Under load: they drain what they have in hand and go, and another engine goes on where they stopped."""
    engines = [await started(orderflow, 2, SHUTDOWN_TIMEOUT_S=str(DRAIN_S))]

    async def kill_it_and_start_another() -> None:
        await consumes(engines[0])
        orphans = await kill_supervisor(engines[0])
        await fault_run.load_goes_on()
        fault_run.healed()
        assert len(orphans) == 2
        await all_gone(orphans, 2 * DRAIN_S)
        assert len(engines[0].seen("worker_stopped")) == 2
        engines.append(await started(orderflow, 2))

    report = await fault_run.under_load(kill_it_and_start_another, messages=3000, per_second=500)
    assert report.violations == []
    await drain(engines[1])


@pytest.mark.fault("6", "kill -9 of supervisors while their workers boot")
async def test_a_supervisor_may_die_at_any_moment_of_its_workers_boot(orderflow: Programs, fault_run: FaultRun) -> None:
    """Right after the spawn, before the first beat, and somewhere between: no worker stays behind."""
    healthy = await started(orderflow, 1)
    ages_s = [0.0, *sorted(fault_run.random.uniform(0.0, 1.5) for _ in range(6))]

    async def kill_them_young() -> None:
        for age_s in ages_s:
            engine = await orderflow.start("engine", "--workers", "2", SHUTDOWN_TIMEOUT_S=str(DRAIN_S))
            await has_workers(engine, 2)
            await asyncio.sleep(age_s)  # the moment is the fault
            await all_gone(await kill_supervisor(engine), BOOT_S + DRAIN_S)
        assert strays(orderflow, healthy) == []

    report = await fault_run.under_load(kill_them_young, messages=2000, per_second=400)
    fault_run.remark = f"{len(ages_s)} supervisors, up to {ages_s[-1]:.1f} s after the spawn"
    assert report.violations == []
    await drain(healthy)


@pytest.mark.parametrize(
    "failpoint",
    [
        pytest.param(
            "at-boot=block", marks=pytest.mark.fault("6", "kill -9 of a supervisor whose workers hang at boot")
        ),
        pytest.param(
            "after-commit=block@3", marks=pytest.mark.fault("6", "kill -9 of a supervisor whose workers are blocked")
        ),
    ],
)
async def test_a_blocked_worker_does_not_outlive_its_supervisor(
    orderflow: Programs, fault_run: FaultRun, tmp_path: Path, failpoint: str
) -> None:
    """Its event loop cannot hear that the supervisor is gone; it ends all the same, when its time to drain is over."""
    healthy = await started(orderflow, 1)

    async def kill_the_supervisor_of_a_blocked_worker() -> None:
        engine = await orderflow.start(
            "engine", "--workers", "1", SHUTDOWN_TIMEOUT_S=str(DRAIN_S), **armed(failpoint, tmp_path)
        )
        await eventually(lambda: asyncio.to_thread(lambda: list(tmp_path.iterdir())), bool, timeout_s=60)
        [blocked] = workers(engine)
        assert await kill_supervisor(engine) == [blocked]
        await fault_run.load_goes_on()
        fault_run.healed()
        await all_gone([blocked], BOOT_S)
        assert engine.seen("worker_stopped") == []

    report = await fault_run.under_load(kill_the_supervisor_of_a_blocked_worker, messages=2000, per_second=400)
    assert report.violations == []
    assert strays(orderflow, healthy) == []
    await drain(healthy)
