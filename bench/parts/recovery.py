"""Measures how long partitions are not consumed after one of two workers was killed, under a steady load."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic

import asyncpg

from bench import targets
from bench.builds import Build
from bench.engine_run import WORKERS, consumed, openers, running_engine
from bench.measurements import Figure
from bench.programs import Program
from bench.run import Contestant, Run
from bench.steady_stream import SteadyStream, steady_stream
from bench.testbed import connection
from bench.verification import verify_counts
from orderflow.services.process import signal_all
from tests.support.isolation import PARTITIONS, own_topics

PARTS = frozenset({"recovery"})
PER_S = 200
_SEED = 11
_TIMEOUT_S = 90.0
_POLL_S = 0.02
_OFFSETS = "SELECT partition, next_offset FROM consumed_offsets WHERE consumer_group = $1"


async def measure(run: Run) -> None:
    """Run a few rounds: the times depend on fixed timeouts and vary little."""
    await run.run_rounds([Contestant("kill -9 of one of two workers", partial(_recovery, run))], run.plan.few_rounds)


async def _recovery(run: Run, build: Build) -> Mapping[Figure, float]:
    async with (
        run.testbed.stores(build.database) as stores,
        own_topics(run.testbed.environment) as topics,
        connection(stores) as database,
        running_engine(run.testbed, build, {**stores, **topics}) as engine,
    ):
        await _until(engine, lambda: len(set(openers(engine).values())) == WORKERS, "has not shared its partitions out")
        group = topics["KAFKA_GROUP_ID"]
        async with steady_stream({**stores, **topics}, PER_S, _SEED) as stream:
            await _commits_after(engine, database, group, stream, 0.0)
            killed_s = monotonic()
            signal_all(engine.process_tree[1:2], signal.SIGKILL)
            await _commits_after(engine, database, group, stream, killed_s)
            seconds = monotonic() - killed_s
            sent = await stream.stop()
        await consumed(engine, database, group, sent)
        await engine.stop()
        verify_counts({"orders": await database.fetchval("SELECT count(*) FROM orders")}, {"orders": sent})
    return {targets.RECOVERY: seconds}


async def _commits_after(
    engine: Program, database: asyncpg.Connection, group: str, stream: SteadyStream, moment_s: float
) -> None:
    """Wait until each partition has committed a message that was published after `moment_s`.

    Earlier messages do not count: the killed worker may have committed them just before its end.
    """
    deadline = monotonic() + _TIMEOUT_S
    while True:
        wanted = stream.first_after(moment_s)
        offsets = {row["partition"]: row["next_offset"] for row in await database.fetch(_OFFSETS, group)}
        done = [partition for partition, offset in wanted.items() if offsets.get(partition, 0) > offset]
        if len(done) == PARTITIONS:
            return
        engine.check()
        if monotonic() > deadline:
            raise engine.failure(f"has committed only on partitions {sorted(done)} after {_TIMEOUT_S:g} s")
        await asyncio.sleep(_POLL_S)


async def _until(engine: Program, true: Callable[[], bool], failure: str) -> None:
    deadline = monotonic() + _TIMEOUT_S
    while not true():
        engine.check()
        if monotonic() > deadline:
            raise engine.failure(failure)
        await asyncio.sleep(_POLL_S)
