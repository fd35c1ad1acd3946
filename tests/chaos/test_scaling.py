"""More and fewer workers, and supervisors that come and go, under load."""

import asyncio
import signal

import asyncpg
import pytest

from orderflow.services.process import signal_all
from tests.chaos.engines import GRACE_S, all_gone, drain, kill_supervisor, shared_out, started
from tests.chaos.fault_run import FaultRun
from tests.support.programs import Programs


@pytest.mark.fault("8", "scaled from 1 to 4 to 2 workers")
async def test_an_engine_is_scaled_up_and_down(
    orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection
) -> None:
    """Each time all workers share the partitions evenly, none is left idle, and what is sent is consumed."""
    engine = await started(orderflow, workers=1)

    async def scale() -> None:
        nonlocal engine
        for count in (4, 2):
            await fault_run.progress()
            await drain(engine)
            engine = await started(orderflow, workers=count)
            await fault_run.load_goes_on()
            fault_run.healed()
            await shared_out(database, among=count)
        await fault_run.progress()

    report = await fault_run.under_load(scale, messages=2000, per_second=500)
    assert report.violations == []
    await drain(engine)


@pytest.mark.fault("8", "a second supervisor joins and is killed, and then its machine is lost")
async def test_another_engine_may_join_and_die(
    orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection
) -> None:
    """Its workers take their share and give it back when it dies: by themselves, or when the group misses them."""
    engine = await started(orderflow, workers=2)

    async def another_comes_and_goes() -> None:
        for machine_is_lost in (False, True):
            guest = await started(orderflow, workers=2)
            await shared_out(database, among=4)
            await fault_run.progress()
            orphans = await kill_supervisor(guest)
            assert len(orphans) == 2
            if machine_is_lost:
                signal_all(orphans, signal.SIGKILL)
            await fault_run.load_goes_on()
            fault_run.healed()
            await all_gone(orphans, GRACE_S)
            await shared_out(database, among=2)
            await fault_run.progress()

    report = await fault_run.under_load(another_comes_and_goes, messages=2000, per_second=500)
    assert report.violations == []
    await drain(engine)


@pytest.mark.fault("8", "second supervisors are killed while the group shares out")
async def test_another_engine_may_die_while_it_joins(
    orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection
) -> None:
    """Three of them, each a moment after its workers have asked for a share."""
    engine = await started(orderflow, workers=2)

    async def three_come_and_go() -> None:
        for _ in range(3):
            guest = await started(orderflow, workers=2)
            await asyncio.sleep(fault_run.random.uniform(0, 0.6))  # the moment is the fault
            orphans = await kill_supervisor(guest)
            await fault_run.load_goes_on()
            fault_run.healed()
            await all_gone(orphans, GRACE_S)
        await shared_out(database, among=2)
        await fault_run.progress()

    report = await fault_run.under_load(three_come_and_go, messages=2000, per_second=500)
    assert report.violations == []
    await drain(engine)
