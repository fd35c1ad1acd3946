"""Measures the memory of a worker while it consumes a long backlog, and whether it grows."""

from collections.abc import Mapping
from statistics import median

import attrs
import psutil

from bench import targets
from bench.backlog import Mixture, backlog
from bench.builds import Build
from bench.engine_run import consumed, running_engine, workers_of
from bench.measurements import Figure
from bench.memory_peaks import MB, peak_bytes
from bench.programs import Program
from bench.run import Contestant, Run
from bench.testbed import connection, settle

PARTS = frozenset({"memory"})
_SETTLED = 0.2
"""After this share of the backlog (200,000 of a million) the memory of a worker must not grow any more."""
_WINDOW = 0.1


async def measure(run: Run) -> None:
    """Measure in few rounds, because memory varies less than time."""
    count = run.plan.memory_orders
    run.print_progress(f"filling a topic with {count:,} messages")
    async with backlog(run.testbed.environment, Mixture(count=count, seed=run.plan.seed)) as filled:

        async def measure(build: Build) -> Mapping[Figure, float]:
            async with run.testbed.stores(build.database) as stores, connection(stores) as database:
                await settle(database)
                environment = {**filled.environment, **stores}
                async with running_engine(run.testbed, build, environment) as engine:
                    samples = Samples(engine, filled.messages)
                    await consumed(engine, database, environment["KAFKA_GROUP_ID"], filled.messages, samples.look)
                    samples.look(filled.messages)
                    peak = peak_bytes(workers_of(engine))
                    await engine.stop()
            return {targets.MEMORY_PEAK: peak / MB, targets.MEMORY_GROWTH: samples.growth / MB}

        await run.run_rounds([Contestant(f"memory over {count:,} orders", measure)], run.plan.few_rounds)


@attrs.define
class Samples:
    """Samples of the resident memory of each worker in bytes, with the number of messages consumed at that time."""

    engine: Program
    messages: int
    by_worker: dict[int, list[tuple[int, int]]] = attrs.field(factory=dict)

    def look(self, done: int) -> None:
        """Take a sample of every worker."""
        for process in workers_of(self.engine):
            try:
                self.by_worker.setdefault(process.pid, []).append((done, process.memory_info().rss))
            except psutil.Error:
                continue

    @property
    def growth(self) -> float:
        """The largest growth of a worker from `_SETTLED` to the end. Both values are medians of several samples."""
        return max(
            self._typical(samples, 1 - _WINDOW, 1.0) - self._typical(samples, _SETTLED, _SETTLED + _WINDOW)
            for samples in self.by_worker.values()
        )

    def _typical(self, samples: list[tuple[int, int]], begin: float, end: float) -> float:
        sizes = [size for done, size in samples if begin * self.messages <= done <= end * self.messages]
        return median(sizes or [size for _, size in samples])
