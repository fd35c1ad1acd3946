"""A long backlog: memory does not grow with what waits."""

import asyncio
import os
from contextlib import suppress

import asyncpg
import attrs
import psutil
import pytest
from redis.asyncio import Redis

from orderflow.start.settings import Settings
from tests.chaos.backlog import Backlog
from tests.chaos.checker import drained, stored_offsets
from tests.chaos.engines import drain, started, workers
from tests.chaos.fault_run import FaultRun
from tests.support.eventually import eventually
from tests.support.programs import Programs

ORDERS = int(os.environ.get("ORDERFLOW_CHAOS_BACKLOG", "1000000"))
WARM_AFTER = ORDERS // 10
DRAIN_TIMEOUT_S = 900
SAMPLE_S = 0.5
MIB = 1 << 20
BOUND_MIB = 256
"""What a worker may hold: its mailboxes, what is fetched ahead for four partitions, and Python itself."""
GROWTH_MIB = 32
"""How much more it may hold at the end than after the first tenth."""


@attrs.define
class Memory:
    """The resident memory of one process, sampled."""

    process: psutil.Process
    samples: list[int] = attrs.field(factory=list)

    def sample(self) -> None:
        """Note the present size, in bytes."""
        self.samples.append(self.process.memory_info().rss)

    @property
    def peak_mib(self) -> float:
        """The largest size that was seen."""
        return max(self.samples) / MIB

    @property
    def growth_mib(self) -> float:
        """By how much the last tenth of the run is above the first one, at their largest."""
        tenth = max(1, len(self.samples) // 10)
        return (max(self.samples[-tenth:]) - max(self.samples[:tenth])) / MIB


async def sampled(memories: list[Memory]) -> None:
    """Sample until cancelled."""
    while True:
        for memory in memories:
            memory.sample()
        await asyncio.sleep(SAMPLE_S)


def told(sizes_mib: list[float], form: str) -> str:
    return ", ".join(format(size, form) for size in sizes_mib)


@pytest.mark.timeout(2 * DRAIN_TIMEOUT_S)
@pytest.mark.fault("7", f"a backlog of {ORDERS:,} orders")
async def test_memory_is_flat_and_bounded_under_a_long_backlog(
    orderflow: Programs, fault_run: FaultRun, settings: Settings, database: asyncpg.Connection, redis: Redis
) -> None:
    """All of it waits when the engine starts; between the first tenth and the last order no worker grows."""
    backlog = Backlog(settings, fault_run.seed)
    await backlog.publish(ORDERS)
    clock = asyncio.get_running_loop().time
    begun = clock()
    engine = await started(orderflow, 2, REDIS_TTL="20")
    await eventually(
        lambda: stored_offsets(database, settings), lambda stored: sum(stored.values()) >= WARM_AFTER, timeout_s=300
    )
    memories = [Memory(worker) for worker in workers(engine)]
    sampling = asyncio.create_task(sampled(memories), name="memory")
    try:
        await drained(settings, {partition: end - 1 for partition, end in backlog.ends.items()}, DRAIN_TIMEOUT_S)
    finally:
        sampling.cancel()
        with suppress(asyncio.CancelledError):
            await sampling
    fault_run.recovery_s = clock() - begun
    fault_run.report = await backlog.check(database, redis)
    peaks = [memory.peak_mib for memory in memories]
    growths = [memory.growth_mib for memory in memories]
    fault_run.remark = (
        f"{backlog.orders / fault_run.recovery_s:,.0f} orders/s; workers' memory: at most {told(peaks, '.0f')} MiB, "
        f"growth {told(growths, '+.0f')} MiB"
    )
    assert fault_run.report.violations == []
    assert [worker.pid for worker in workers(engine)] == [memory.process.pid for memory in memories]
    assert max(peaks) < BOUND_MIB
    assert max(growths) < GROWTH_MIB
    await drain(engine)
