"""Measures how ingest depends on the batch size and on the table size, for the plots."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial

from bench import targets
from bench.backlog import Backlog, Mixture, backlog
from bench.builds import Build
from bench.engine_run import run_engine
from bench.measurements import Figure
from bench.run import Contestant, Run
from bench.stored_orders import Template, templates

PARTS = frozenset({"batch-size", "table-size"})
_SHARE = 5
"""The backlog is one fifth of the backlog of the part `ingest`, because small batches are slow."""


async def measure(run: Run) -> None:
    """Fill a topic, and tables of each size, then run the rounds."""
    plan, testbed = run.plan, run.testbed
    mixture = Mixture(count=plan.orders // _SHARE, seed=plan.seed, random_uids=plan.random_uids)
    async with AsyncExitStack() as stack:
        messages = await stack.enter_async_context(backlog(testbed.environment, mixture))
        contestants: list[Contestant] = []
        if "batch-size" in plan.parts:
            contestants += [
                Contestant(f"batches of {size:,}", partial(_by_batch_size, run, messages, size))
                for size in plan.batch_sizes
            ]
        if "table-size" in plan.parts:
            for size in plan.table_sizes:
                run.print_progress(f"storing {size:,} orders")
                filled = await stack.enter_async_context(templates(testbed, size, random_uids=plan.random_uids))
                contestants.append(Contestant(f"{size:,} stored", partial(_by_table_size, run, messages, size, filled)))
        await run.run_rounds(contestants, plan.rounds)


async def _by_batch_size(run: Run, messages: Backlog, size: int, build: Build) -> Mapping[Figure, float]:
    finished = await run_engine(run.testbed, build, messages, BATCH_MAX_ORDERS=str(size))
    return {targets.batch_size(size): finished.orders_per_s}


async def _by_table_size(
    run: Run, messages: Backlog, size: int, filled: Mapping[Build, Template], build: Build
) -> Mapping[Figure, float]:
    finished = await run_engine(run.testbed, build, messages, template=filled[build])
    return {targets.table_size(size): finished.orders_per_s}
