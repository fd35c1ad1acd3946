"""Measures the memory of one worker with a compressed backlog that is small on disk and large in memory."""

from collections.abc import Mapping
from pathlib import Path

import psutil

from bench import targets
from bench.backlog import Backlog, Mixture, backlog
from bench.builds import Build
from bench.engine_run import consumed, running_engine
from bench.measurements import Figure
from bench.programs import Program
from bench.run import Contestant, Run
from bench.testbed import connection, settle
from bench.verification import verify_counts

PARTS = frozenset({"compressed"})
PARTITIONS = 64
_PADDING = 9000
_MESSAGE_BYTES = 10_300
_BATCH_BYTES = 1 << 20
_MB = 1_000_000


async def measure(run: Run) -> None:
    """Fill many partitions with batches that zstd compresses well, then run a few rounds."""
    count = run.plan.unpacked_mb * _MB // _MESSAGE_BYTES
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
            return {targets.MEMORY_COMPRESSED: await _peak(run, filled, build) / _MB}

        await run.run_rounds([Contestant("memory over a compressed backlog", measure)], run.plan.few_rounds)


async def _peak(run: Run, filled: Backlog, build: Build) -> int:
    """Let one worker consume the backlog, and return its peak memory in bytes."""
    peaks: list[int] = []
    async with run.testbed.stores(build.database) as stores, connection(stores) as database:
        await settle(database)
        environment = {**filled.environment, **stores}
        async with running_engine(run.testbed, build, environment, workers=1) as engine:

            def look(_done: int) -> None:
                peaks.extend(_peaks(engine))

            await consumed(engine, database, environment["KAFKA_GROUP_ID"], filled.messages, look)
            look(filled.messages)
            await engine.stop()
        verify_counts({"orders": await database.fetchval("SELECT count(*) FROM orders")}, {"orders": filled.orders})
    return max(peaks)


def _peaks(engine: Program) -> list[int]:
    """Return the peak memory of each worker, from the kernel: a sample could miss short peaks during decompression."""
    found = []
    for process in engine.process_tree[1:]:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            found.append(next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")))
        except (OSError, StopIteration, psutil.Error):  # a process that is ending
            continue
    return found
