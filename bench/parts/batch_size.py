"""Measures how ingest depends on the batch size, for the plots."""

from collections.abc import Mapping
from functools import partial

from bench import targets
from bench.backlog import Backlog, Mixture, backlog
from bench.builds import Build
from bench.engine_run import run_engine
from bench.measurements import Figure
from bench.run import Contestant, Run

PARTS = frozenset({"batch-size"})
_SHARE = 5
"""The backlog is one fifth of the backlog of the part `ingest`, because small batches are slow."""


async def measure(run: Run) -> None:
    """Fill a topic, then run the rounds."""
    plan = run.plan
    mixture = Mixture(count=plan.orders // _SHARE, seed=plan.seed, random_uids=plan.random_uids)
    async with backlog(run.testbed.environment, mixture) as messages:
        contestants = [
            Contestant(f"batches of {size:,}", partial(_by_batch_size, run, messages, size))
            for size in plan.batch_sizes
        ]
        await run.run_rounds(contestants, plan.rounds)


async def _by_batch_size(run: Run, messages: Backlog, size: int, build: Build) -> Mapping[Figure, float]:
    finished = await run_engine(run.testbed, build, messages, BATCH_MAX_ORDERS=str(size))
    return {targets.batch_size(size): finished.orders_per_s}
