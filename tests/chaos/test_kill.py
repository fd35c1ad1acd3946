"""Workers that die without warning, under load."""

import asyncio

import pytest

from orderflow.start.settings import Settings
from tests.chaos.engines import all_open, consumes, drain, workers
from tests.chaos.fault_run import FaultRun
from tests.support.programs import Programs
from tests.support.steady_load import offset_watch

RATE = 200
KILL_EVERY_S = 4.0
KILLS = 15
LONGEST_SILENCE_S = 5.0
SHARE_STORED = 0.9


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


@pytest.mark.fault("32", "kill -9 of a worker every 4 s, for a minute")
async def test_an_engine_whose_workers_die_all_the_time_goes_on_storing(
    orderflow: Programs, fault_run: FaultRun, settings: Settings
) -> None:
    """No silence is long, and at the end of that minute most of what was sent is stored."""
    engine = await all_open(orderflow, RESTART_MAX="100")
    clock = asyncio.get_running_loop().time
    ledger = fault_run.ledger()
    silence_s, share = 0.0, 0.0

    async def kill_one_after_another() -> None:
        nonlocal silence_s, share
        async with offset_watch(settings) as watch:
            await watch.every_partition_moves({})
            begun_s = clock()
            for kills in range(1, KILLS + 1):
                victims = workers(engine)
                fault_run.random.choice(victims).kill()
                await asyncio.sleep(begun_s + kills * KILL_EVERY_S - clock())  # the rhythm is the fault
            sent = len(ledger.sent)
            share = sum(watch.positions.values()) / sent
            silence_s = watch.longest_silence_s(begun_s, clock())
        fault_run.remark = f"longest silence {silence_s:.1f} s, {share:.0%} stored at the end"

    report = await fault_run.under_load(kill_one_after_another, messages=2000, per_second=RATE, ledger=ledger)
    assert report.violations == []
    assert len(engine.seen("worker_died")) == KILLS
    assert silence_s <= LONGEST_SILENCE_S
    assert share >= SHARE_STORED
    await drain(engine)
