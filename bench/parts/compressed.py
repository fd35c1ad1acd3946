"""Measures the memory of one worker with a compressed backlog that is small on disk and large in memory."""

from collections.abc import Mapping

from bench import targets
from bench.backlog import Backlog, Mixture, backlog
from bench.builds import Build
from bench.engine_run import consumed, running_engine, workers_of
from bench.measurements import Figure
from bench.memory_peaks import MB, peak_bytes
from bench.run import Contestant, Run
from bench.testbed import connection, settle
from bench.verification import verify_counts

PARTS = frozenset({"compressed"})
PARTITIONS = 64
_PADDING = 9000
_MESSAGE_BYTES = 10_300
_BATCH_BYTES = 1 << 20


async def measure(run: Run) -> None:
    """Fill many partitions with batches that zstd compresses well, then run a few rounds."""
    count = run.plan.unpacked_mb * MB // _MESSAGE_BYTES
    run.print_progress(
        f"filling {PARTITIONS} partitions with {run.plan.unpacked_mb:,} MB that are small as zstd packs them"
    )
    mixture = Mixture(
        count=count,
        seed=run.plan.seed,
        partitions=PARTITIONS,
        padding=_PADDING,
        compression="zstd",
        batch_bytes=_BATCH_BYTES,
    )
    async with backlog(run.testbed.environment, mixture) as filled:

        async def measure(build: Build) -> Mapping[Figure, float]:
            return {targets.MEMORY_COMPRESSED: await _peak(run, filled, build) / MB}

        await run.run_rounds([Contestant("memory over a compressed backlog", measure)], run.plan.few_rounds)


async def _peak(run: Run, filled: Backlog, build: Build) -> int:
    """Let one worker consume the backlog, and return its peak memory in bytes."""
    peaks: list[int] = []
    async with run.testbed.stores(build.database) as stores, connection(stores) as database:
        await settle(database)
        environment = {**filled.environment, **stores}
        async with running_engine(run.testbed, build, environment, workers=1) as engine:

            def look(_done: int) -> None:
                peaks.append(peak_bytes(workers_of(engine)))  # a worker that ends is counted until then

            await consumed(engine, database, environment["KAFKA_GROUP_ID"], filled.messages, look)
            look(filled.messages)
            await engine.stop()
        verify_counts({"orders": await database.fetchval("SELECT count(*) FROM orders")}, {"orders": filled.orders})
    return max(peaks)
