"""Engines that are stopped with SIGTERM and started again, under load."""

import pytest

from orderflow.start.settings import Settings
from tests.chaos.engines import consumes, drain, group_members, started
from tests.chaos.fault_run import FaultRun
from tests.support.programs import Programs

ROUNDS = 3


def told(drains: list[float]) -> str:
    return f"drained in {', '.join(f'{seconds:.1f}' for seconds in drains)} s"


@pytest.mark.fault("1", "SIGTERM of the engine, three times")
async def test_an_engine_that_is_stopped_and_started_again_loses_nothing(
    orderflow: Programs, fault_run: FaultRun, settings: Settings
) -> None:
    """Each drain is clean, within the grace period, and leaves no member behind that the next one waits for."""
    engine = await started(orderflow, workers=2)
    drains = []

    async def stop_and_start_again() -> None:
        nonlocal engine
        for _ in range(ROUNDS):
            await consumes(engine, batches=1)
            drains.append(await drain(engine))
            assert await group_members(settings) == 0
            await fault_run.load_goes_on()
            fault_run.healed()
            engine = await started(orderflow, workers=2)

    report = await fault_run.under_load(stop_and_start_again, messages=8000, per_second=2000)
    fault_run.remark = told(drains)
    assert report.violations == []
    await drain(engine)


@pytest.mark.fault("1", "SIGTERM of one of two engines, three times")
async def test_engines_are_renewed_one_by_one_while_others_go_on(orderflow: Programs, fault_run: FaultRun) -> None:
    """Of two engines the older one drains and a new one joins, three times; the other consumes all the while."""
    engines = [await started(orderflow, workers=1), await started(orderflow, workers=1)]
    drains = []

    async def renew_the_older() -> None:
        for _ in range(ROUNDS):
            for engine in engines:
                await consumes(engine)
            drains.append(await drain(engines.pop(0)))
            await fault_run.load_goes_on()
            fault_run.healed()
            await consumes(engines[0])
            engines.append(await started(orderflow, workers=1))

    report = await fault_run.under_load(renew_the_older, messages=2000, per_second=500)
    fault_run.remark = told(drains)
    assert report.violations == []
    for engine in engines:
        await drain(engine)
