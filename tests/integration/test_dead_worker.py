"""A worker that dies under load is out of its group at once: nobody waits for the session timeout to miss it."""

import asyncio

import psutil

from orderflow.start.settings import Settings
from tests.support.programs import Programs, Running
from tests.support.steady_load import steady_load

RATE = 200
LIMIT_S = 5.0
"""Less than the session timeout (6 s), after which the group would have missed the dead worker anyhow."""


def process_of(engine: Running, worker: str) -> psutil.Process:
    [found] = [process for process in engine.children if worker.endswith(f"-{process.cmdline()[-1]}")]
    return found


async def test_every_partition_goes_on_soon_after_a_worker_was_killed(orderflow: Programs, settings: Settings) -> None:
    """kill -9 of one of two workers, then of the other, so that one of them led the group."""
    engine = await orderflow.start("engine", "--workers", "2")
    await engine.wait_for("worker_started", count=2, timeout_s=40)
    async with steady_load(settings, RATE) as load:
        for kills, worker in enumerate(("worker-0", "worker-1"), start=1):
            await load.every_partition_moves(dict(load.positions))
            victim = process_of(engine, worker)
            victim.kill()
            await asyncio.to_thread(victim.wait, 10)
            assert await load.every_partition_moves(dict(load.positions)) < LIMIT_S
            assert (await engine.wait_for("member_removed", count=kills))["worker"] == worker
            await engine.wait_for("worker_started", count=2 + kills, timeout_s=40)
    assert engine.seen("member_not_removed") == []
    assert await engine.stop() == 0
    assert len(engine.seen("member_removed")) == 2, "who drains leaves by itself"
