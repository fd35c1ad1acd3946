"""Measures how ingest depends on the number of workers and of partitions, and lookups on that of HTTP processes.

For each order or request it measures the processor time of every side: on a machine whose cores are all busy, only that
tells what more cores would give.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial

import attrs

from bench import targets
from bench.backlog import Backlog, Mixture, backlog
from bench.builds import Build
from bench.engine_run import WORKERS, run_engine
from bench.load import Load, ask_for, ask_once
from bench.measurements import Figure
from bench.memory_peaks import MB
from bench.parts.lookups import fill_cache, stored_for_lookups
from bench.run import Contestant, Run
from bench.servers import empty_cache, lookup_server
from bench.testbed import per_order_us, processor_s

PARTS = frozenset({"wide"})
_WARM_UP = 500


async def measure(run: Run) -> None:
    """Fill a topic for each number of partitions and a database for lookups, then run the rounds."""
    plan = run.plan
    fewest = min(plan.wide_partitions)
    async with AsyncExitStack() as stack:
        filled = {}
        for partitions in sorted(plan.wide_partitions):
            run.print_progress(f"filling {partitions} partitions with {plan.orders:,} messages")
            mixture = Mixture(count=plan.orders, seed=plan.seed, random_uids=plan.random_uids, partitions=partitions)
            filled[partitions] = await stack.enter_async_context(backlog(run.testbed.environment, mixture))
        wanted = {(workers, fewest) for workers in plan.wide_workers} | {(WORKERS, each) for each in filled}
        contestants = [
            Contestant(
                f"ingest, workers: {workers}, partitions: {partitions}",
                partial(_ingest, run, workers, partitions, filled[partitions]),
            )
            for workers, partitions in sorted(wanted)
        ]
        lookups = _Lookups(run, *await stored_for_lookups(run, stack))
        contestants += [
            Contestant(f"lookups, processes: {processes}", partial(lookups.measure, processes))
            for processes in plan.wide_processes
        ]
        await run.run_rounds(contestants, plan.rounds)


async def _ingest(run: Run, workers: int, partitions: int, messages: Backlog, build: Build) -> Mapping[Figure, float]:
    finished = await run_engine(run.testbed, build, messages, workers=workers, idle_s=run.plan.idle_s)
    figures = targets.wide_ingest(workers, partitions)
    run.detail(figures.rate, build, finished)
    ready = {} if finished.ready_s is None else {figures.ready: finished.ready_s}
    return {
        figures.rate: finished.orders_per_s,
        **ready,
        figures.idle: finished.idle_ms,
        figures.memory: finished.memory_bytes / MB,
        figures.wal: finished.wal_bytes,
        **figures.spent.values(finished.processor_us),
    }


@attrs.frozen
class _Lookups:
    """Requests `uids` from HTTP servers. They are stored in the database of a build's environment."""

    run: Run
    environments: Mapping[Build, dict[str, str]]
    uids: list[str]

    async def measure(self, processes: int, build: Build) -> Mapping[Figure, float]:
        """Request each order once without a cache, then from the cache for some seconds."""
        environment, testbed = self.environments[build], self.run.testbed
        async with lookup_server(testbed, build, environment, processes) as (server, port), server.serving():
            await empty_cache(environment)
            await ask_once(testbed, port, self.uids[:_WARM_UP])
            before = self._processor_s(server.pid)
            cold = await ask_once(testbed, port, self.uids[_WARM_UP:])
            found = _figures(targets.COLD, processes, cold, before, self._processor_s(server.pid))
            await fill_cache(environment, self.uids)
            before = self._processor_s(server.pid)
            cached = await ask_for(testbed, port, self.uids, self.run.plan.lookup_s)
            return found | _figures(targets.CACHED, processes, cached, before, self._processor_s(server.pid))

    def _processor_s(self, server: int) -> dict[str, float]:
        return {**self.run.testbed.processor_s(), "program": processor_s(server)}


def _figures(
    kind: str, processes: int, load: Load, before: Mapping[str, float], after: Mapping[str, float]
) -> dict[Figure, float]:
    figures = targets.wide_lookups(kind, processes)
    spent_us = per_order_us(before, after, load.requests)
    return {figures.rate: load.per_s, figures.p99: load.p99_ms, **figures.spent.values(spent_us)}
