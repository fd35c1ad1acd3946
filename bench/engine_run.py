"""A run of the real engine on a backlog: its throughput, the time until it is ready, and its CPU time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from time import monotonic
from typing import Any

import asyncpg
import attrs
import psutil

from bench.backlog import Backlog
from bench.builds import Build
from bench.memory_peaks import peak_bytes
from bench.programs import Program, program
from bench.stored_orders import StoredOrders, Template
from bench.testbed import Testbed, connection, per_order_us, processor_s, redis_of, settle, warm
from bench.verification import verify_engine
from engine.telemetry.events import PARTITION_OPENED
from tests.support.isolation import PARTITIONS, unique

WORKERS = 2
CACHE_SETTLES_S = 30.0
READY_TIMEOUT_S = 60.0
_SLOWEST_ORDERS_PER_S = 300
_POLL_S = 0.1
_CONSUMED = "SELECT coalesce(sum(next_offset), 0)::bigint FROM consumed_offsets WHERE consumer_group = $1"
# By whether there is a table `cached_batches`. Without it, a column of `batches` tells when the cache had followed.
_UNCACHED = {
    True: "SELECT count(*) FROM cache_pending",
    False: "SELECT count(*) FROM batches WHERE cached_at IS NULL",
}
_SETTLED_S = 2.0
"""New orders are not noted: all are cached when nothing has been cached for so long."""
_LAST_CACHED = {
    True: "SELECT max(cached_at) FROM cached_batches",
    False: "SELECT max(cached_at) FROM batches",
}
_WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8"
_TIMES = "SELECT min(consumed_at) AS first_consumed_at, max(committed_at) AS last_committed_at FROM batches"


@attrs.frozen
class EngineRun:
    """The results of a run. Times are in seconds.

    `orders_per_s` is measured from the first consumed batch until the last commit, `cached_per_s` until the last batch
    is in the cache. `ready_s` is the time from the start of the process until all partitions are open (None if the log
    level hides this). `processor_us` is the CPU time per order in microseconds, by process. `memory_bytes` is the peak
    memory of the largest worker. `idle_ms` is the CPU time of a worker in milliseconds per second, afterwards.
    `wal_bytes` is what PostgreSQL wrote to its write-ahead log for an order.
    """

    orders_per_s: float
    cached_per_s: float
    wall_s: float
    ready_s: float | None
    processor_us: dict[str, float]
    memory_bytes: int
    idle_ms: float = 0.0
    wal_bytes: float = 0.0


@asynccontextmanager
async def running_engine(
    testbed: Testbed, build: Build, environment: Mapping[str, str], *, workers: int = WORKERS
) -> AsyncIterator[Program]:
    """Run `orderflow engine` of a build, and write its log to a file."""
    command = build.orderflow("engine", "--workers", str(workers))
    async with program(f"engine {build.name}", command, environment, testbed.folder, root=build.root) as engine:
        yield engine


async def run_engine(
    testbed: Testbed,
    build: Build,
    backlog: Backlog,
    *,
    template: Template | None = None,
    workers: int = WORKERS,
    idle_s: float = 0.0,
    **settings: str,
) -> EngineRun:
    """Let the engine of a build consume `backlog`. It starts with a copy of `template` (default: empty tables).

    Then the idle workers are watched for `idle_s` seconds. `settings` are environment variables. Raises `OrdersLost`
    and `ProgramFailed`.
    """
    begins = template or Template(build.database, StoredOrders(0, 0))
    async with (
        testbed.stores(begins.database, large=template is not None) as stores,
        connection(stores) as database,
    ):
        group = unique("bench")
        environment = {**backlog.environment, **stores, "KAFKA_GROUP_ID": group, **settings}
        await settle(database)
        await warm(database)
        async with running_engine(testbed, build, environment, workers=workers) as engine:
            done = await consumed(engine, database, group, 1)
            before, wal_before = _processor_s(testbed, engine), await database.fetchval(_WAL)
            await consumed(engine, database, group, backlog.messages)
            last_cached_at = await cached(engine, database)
            spent = per_order_us(before, _processor_s(testbed, engine), backlog.messages - done)
            wal_bytes = (await database.fetchval(_WAL) - wal_before) / max(1, backlog.messages - done)
            memory_bytes = peak_bytes(workers_of(engine))
            idle_ms = await _idle_ms(engine, idle_s) if idle_s else 0.0
            await engine.stop()
            times = await database.fetchrow(_TIMES)
            ready_s = seconds_until_ready(engine)
        async with redis_of(environment) as redis:
            await verify_engine(database, redis, backlog, begins.stored, bodies=build == testbed.this)
    assert times is not None
    first, last = times["first_consumed_at"], times["last_committed_at"]
    return EngineRun(
        orders_per_s=backlog.messages / (last - first).total_seconds(),
        cached_per_s=backlog.messages / (last_cached_at - first).total_seconds(),
        wall_s=(last - engine.started_at).total_seconds(),
        ready_s=ready_s,
        processor_us=spent,
        memory_bytes=memory_bytes,
        idle_ms=idle_ms,
        wal_bytes=wal_bytes,
    )


async def _idle_ms(engine: Program, seconds: float) -> float:
    """Return the CPU time of a worker during so many seconds, in milliseconds per second."""
    workers = workers_of(engine)
    before_s, began_s = sum(processor_s(worker.pid) for worker in workers), monotonic()
    await asyncio.sleep(seconds)
    spent_s = sum(processor_s(worker.pid) for worker in workers) - before_s
    return spent_s * 1000 / (monotonic() - began_s) / max(1, len(workers))


def workers_of(engine: Program) -> list[psutil.Process]:
    """Return the worker processes: all but the supervisor."""
    return engine.process_tree[1:]


def _processor_s(testbed: Testbed, engine: Program) -> dict[str, float]:
    return {**testbed.processor_s(), "program": processor_s(engine.pid)}


async def consumed(
    engine: Program,
    database: asyncpg.Connection,
    group: str,
    messages: int,
    look: Callable[[int], None] = lambda _consumed: None,
) -> int:
    """Wait until, by the stored offsets, at least `messages` are consumed. Returns the number of consumed messages.

    Calls `look` with that number several times a second. Raises `ProgramFailed` if the engine is too slow.
    """
    deadline = monotonic() + READY_TIMEOUT_S + messages / _SLOWEST_ORDERS_PER_S
    while (done := int(await database.fetchval(_CONSUMED, group))) < messages:
        look(done)
        engine.check()
        if monotonic() > deadline:
            raise engine.failure(f"has consumed only {done:,} of {messages:,} messages")
        await asyncio.sleep(_POLL_S)
    return done


async def cached(engine: Program, database: asyncpg.Connection) -> datetime:
    """Wait until every batch is in the cache, and return when the last one was.

    Raises `ProgramFailed` after `CACHE_SETTLES_S`.
    """
    deadline = monotonic() + CACHE_SETTLES_S
    has_table = await database.fetchval("SELECT to_regclass('cached_batches') IS NOT NULL")
    last: datetime | None = None
    since = monotonic()
    while True:
        missing = await database.fetchval(_UNCACHED[has_table])
        if last != (last := await database.fetchval(_LAST_CACHED[has_table])):
            since = monotonic()
        if last is not None and not missing and not (has_table and monotonic() - since < _SETTLED_S):
            return last
        engine.check()
        if monotonic() > deadline:
            raise engine.failure(f"has left {missing:,} batches out of the cache")
        await asyncio.sleep(_POLL_S)


async def ready(engine: Program) -> None:
    """Wait until every partition is open. Raises `ProgramFailed` after `READY_TIMEOUT_S`."""
    deadline = monotonic() + READY_TIMEOUT_S
    while len(_openings(engine)) < PARTITIONS:
        engine.check()
        if monotonic() > deadline:
            raise engine.failure("has not opened its partitions")
        await asyncio.sleep(_POLL_S)


def seconds_until_ready(engine: Program) -> float | None:
    """Return the seconds from the start of the process until all partitions were open. None if the log hides it."""
    openings = _openings(engine).values()
    return (max(openings) - engine.started_at).total_seconds() if openings else None


def openers(engine: Program) -> dict[int, str]:
    """Return, from the engine's log, the worker that was the last to open each partition."""
    return {event["partition"]: event["worker"] for event in _opened(engine)}


def _openings(engine: Program) -> dict[int, datetime]:
    """Return when each partition was first opened, from the engine's log."""
    openings: dict[int, datetime] = {}
    for event in _opened(engine):
        openings.setdefault(event["partition"], datetime.fromisoformat(event["time"]))
    return openings


def _opened(engine: Program) -> Iterator[dict[str, Any]]:
    with engine.log.open("rb") as log:
        for line in log:
            if PARTITION_OPENED.encode() in line and line.endswith(b"\n"):
                yield json.loads(line)
