"""All figures, with their names in the results, and their goals."""

from collections.abc import Mapping

import attrs

from bench.goals import Goal
from bench.measurements import Figure

RATE, SECONDS, MILLISECONDS, MEGABYTES = "orders/s", "s", "ms", "MB"

COPY_LIMIT = Figure("copy_limit", "Raw COPY limit (R), reference schema", RATE)
INGEST = Figure("ingest", "Ingest", RATE)
INGEST_CACHED = Figure("ingest_cached", "Ingest until everything is cached", RATE)
INGEST_WALL = Figure("ingest_wall", "Ingest, from the start of the process", SECONDS)
READY = Figure("ready", "Ready to consume", SECONDS)
INGEST_INVALID = Figure("ingest_invalid", "Ingest, 1 % invalid", RATE)
INGEST_REPEATS = Figure("ingest_repeats", "Ingest, 5 % repeats", RATE)
INGEST_STORED = Figure("ingest_stored", "Ingest, large tables", RATE)
READY_STORED = Figure("ready_stored", "Ready to consume, large tables", SECONDS)
INGEST_QUIET = Figure("ingest_quiet", "Ingest, log level warning", RATE)
YARDSTICK = Figure("yardstick", "Yardstick (plain Python, no guarantees)", RATE)
PEER = Figure("peer", "Peer", RATE)

LATENCY_P50 = Figure("latency_p50", "Publish to visible, 200/s, p50", MILLISECONDS)
LATENCY_P95 = Figure("latency_p95", "Publish to visible, 200/s, p95", MILLISECONDS)
LATENCY_P99 = Figure("latency_p99", "Publish to visible, 200/s, p99", MILLISECONDS)
BARE_P50 = Figure("bare_loop_p50", "Bare loop, 200/s, p50", MILLISECONDS)
BARE_P95 = Figure("bare_loop_p95", "Bare loop, 200/s, p95", MILLISECONDS)
BARE_P99 = Figure("bare_loop_p99", "Bare loop, 200/s, p99", MILLISECONDS)
BURST_P50 = Figure("latency_3000_p50", "Publish to visible, 3,000/s, p50", MILLISECONDS)
BURST_P99 = Figure("latency_3000_p99", "Publish to visible, 3,000/s, p99", MILLISECONDS)
LATENCY_PROCESSOR = Figure("latency_processor", "Processor time of a worker for a lone order, 200/s", "µs/order")
VISIBILITY_ERROR = Figure("visibility_error_p99", "Error of these times, p99", MILLISECONDS, comparable=False)

MEMORY_INGEST = Figure("memory_ingest", "Memory of a worker, ingest, peak", MEGABYTES)
MEMORY_PEAK = Figure("memory_peak", "Memory of a worker, long backlog, peak", MEGABYTES)
MEMORY_GROWTH = Figure("memory_growth", "Memory of a worker, growth", MEGABYTES, comparable=False)
MEMORY_HTTP = Figure("memory_http", "Memory of an HTTP process, lookups, peak", MEGABYTES)

MEMORY_COMPRESSED = Figure("memory_compressed", "Memory of a worker, 64 partitions, zstd, peak", MEGABYTES)

RECOVERY = Figure("recovery", "Recovery after kill -9 of one of two workers, 200/s", SECONDS)

PROCESSOR = {
    name: Figure(f"processor_{name}", f"Processor time of ingest: {title}", "µs/order")
    for name, title in {
        "program": "engine",
        "postgresql": "PostgreSQL",
        "valkey": "Valkey",
        "kafka": "Kafka",
    }.items()
}
"""The CPU time of each process per order. More reliable than a rate if other programs use the machine, too."""
PROCESSOR_ALL = {
    figure: Figure(f"processor_all_{figure.key}", f"Processor time, all sides: {title}", "µs/order")
    for figure, title in {
        COPY_LIMIT: "raw COPY",
        INGEST: "ingest",
        YARDSTICK: "yardstick",
        PEER: "peer",
    }.items()
}


CACHED, COLD, ABSENT = LOOKUP_KINDS = ("cached", "cold", "absent")
"""Lookups of orders in Redis, of orders only in PostgreSQL, and of uids that do not exist (404)."""


@attrs.frozen
class LookupFigures:
    """The figures of one kind of lookup: the rate, percentiles of the latency, and the server's CPU time."""

    rate: Figure
    p50: Figure
    p99: Figure
    processor: Figure


def lookups(kind: str, processes: int, server: str = "orderflow") -> LookupFigures:
    """Return the figures for a server (orderflow, plain or peer). A peer decides itself how many processes it has."""
    key = f"lookups_{server}_{kind}" + ("" if server == "peer" else f"_{processes}")
    title = f"Lookups, {kind}, " + _SERVERS[server].format(processes, "es" if processes > 1 else "")
    return LookupFigures(
        Figure(key, title, "req/s"),
        Figure(f"{key}_p50", f"{title}, p50", MILLISECONDS),
        Figure(f"{key}_p99", f"{title}, p99", MILLISECONDS),
        Figure(f"{key}_processor", f"{title}, processor time", "µs/request"),
    )


_SERVERS = {
    "orderflow": "{} process{}",
    "plain": "{} process{}, plain handler",
    "peer": "peer",
}


def batch_size(orders: int) -> Figure:
    """Return the figure for ingest in batches of at most `orders`."""
    return Figure(f"batch_size_{orders}", f"Ingest, batches of {orders:,}", RATE)


@attrs.frozen
class SizeFigures:
    """The figures for a number of stored orders on one PostgreSQL server."""

    ingest: Figure
    ready: Figure
    cold_p99: Figure
    page: Figure


def stored_size(server: str, orders: int) -> SizeFigures:
    """Return the figures for tables on `server` that already contain `orders`."""
    key, title = f"stored_{server}", f"{server}, {orders:,} stored"
    return SizeFigures(
        Figure(f"{key}_ingest_{orders}", f"Ingest, {title}", RATE),
        Figure(f"{key}_ready_{orders}", f"Ready to consume, {title}", SECONDS),
        Figure(f"{key}_cold_p99_{orders}", f"Lookups, cold, {title}, p99", MILLISECONDS),
        Figure(f"{key}_page_{orders}", f"A page of /orders, {title}", MILLISECONDS),
    )


SIDES = tuple(PROCESSOR)
"""The sides whose processor time is measured: the engine or the server, and the embedded services."""


@attrs.frozen
class Spent:
    """The processor time for one order or request: of each side, and of all."""

    sides: Mapping[str, Figure]
    all: Figure

    def values(self, spent_us: Mapping[str, float]) -> dict[Figure, float]:
        """Return the values of the figures. `spent_us` has the sides that were measured."""
        known = {self.sides[side]: value for side, value in spent_us.items() if side in self.sides}
        return {**known, self.all: sum(known.values())}


def _spent(key: str, title: str, unit: str) -> Spent:
    names = {side: Figure(f"{key}_processor_{side}", f"{title}, processor time: {side}", unit) for side in SIDES}
    return Spent(names, Figure(f"{key}_processor", f"{title}, processor time of all", unit))


@attrs.frozen
class Wide:
    """The rate, and the processor time for one order or request."""

    rate: Figure
    spent: Spent


@attrs.frozen
class WideIngest(Wide):
    """The figures of ingest with a number of workers and partitions. `idle` is per worker, `wal` per order."""

    ready: Figure
    idle: Figure
    memory: Figure
    wal: Figure


@attrs.frozen
class WideLookups(Wide):
    """The figures of one kind of lookup with a number of HTTP processes."""

    p99: Figure


def wide_ingest(workers: int, partitions: int) -> WideIngest:
    """Return the figures for so many workers on a topic of so many partitions."""
    key, title = f"wide_ingest_{workers}_{partitions}", f"{workers} workers, {partitions} partitions"
    return WideIngest(
        Figure(key, f"Ingest, {title}", RATE),
        _spent(key, f"Ingest, {title}", "µs/order"),
        Figure(f"{key}_ready", f"Ready to consume, {title}", SECONDS),
        Figure(f"{key}_idle", f"Processor time of an idle worker, {title}", "ms/second"),
        Figure(f"{key}_memory", f"Memory of a worker, {title}, peak", MEGABYTES),
        Figure(f"{key}_wal", f"Write-ahead log, {title}", "bytes/order"),
    )


def wide_lookups(kind: str, processes: int) -> WideLookups:
    """Return the figures for lookups from so many processes."""
    key, title = f"wide_lookups_{kind}_{processes}", f"Lookups, {kind}, {processes} processes, by side"
    return WideLookups(
        Figure(key, title, "req/s"),
        _spent(key, title, "µs/request"),
        Figure(f"{key}_p99", f"{title}, p99", MILLISECONDS),
    )


CORES_FOR_TWO_PROCESSES = 4
"""With fewer, the load and the stores take the core that a second process needs."""

GOALS = (
    Goal(INGEST, 1.1, COPY_LIMIT),
    Goal(INGEST, 1.1, PEER),
    Goal(INGEST_INVALID, 0.8, INGEST),
    Goal(INGEST_REPEATS, 0.8, INGEST),
    Goal(INGEST_STORED, 0.8, INGEST),
    Goal(READY_STORED, 1.1, READY, at_most=True),
    Goal(INGEST, 0.9, INGEST_QUIET),
    Goal(LATENCY_P50, 1.2, BARE_P50, at_most=True),
    Goal(BURST_P99, 10, LATENCY_P50, at_most=True),
    *(
        goal
        for processes in (1, 2)
        for kind, bound in ((CACHED, 2.5), (COLD, 4))
        for ours, plain in [(lookups(kind, processes), lookups(kind, processes, "plain"))]
        for goal in (Goal(ours.rate, bound, plain.rate), Goal(ours.p99, 1, plain.p99, at_most=True))
    ),
    *(
        goal
        for processes in (1, 2)
        for kind, bound in ((CACHED, 1), (COLD, 1.2), (ABSENT, 1))
        for ours, peer in [(lookups(kind, processes), lookups(kind, processes, "peer"))]
        for goal in (
            Goal(ours.rate, bound, peer.rate),
            Goal(ours.p99, 1, peer.p99, at_most=True),
            Goal(ours.processor, 1, peer.processor, at_most=True),
        )
    ),
    *(
        Goal(lookups(kind, 2).rate, 1.7, lookups(kind, 1).rate, cores=CORES_FOR_TWO_PROCESSES)
        for kind in (CACHED, COLD)
    ),
    Goal(MEMORY_INGEST, 90, at_most=True),
    Goal(MEMORY_PEAK, 90, at_most=True),
    Goal(MEMORY_HTTP, 80, at_most=True),
    Goal(MEMORY_GROWTH, 5, at_most=True),
    Goal(MEMORY_COMPRESSED, 200, at_most=True),
    Goal(RECOVERY, 2, at_most=True),
)

AGAINST_BASE: Mapping[Figure, float] = {
    INGEST: 1.25,
    PROCESSOR["program"]: 0.65,
    LATENCY_P50: 0.6,
    LATENCY_PROCESSOR: 0.5,
    BURST_P99: 0.5,
    **{lookups(kind, 1).rate: bound for kind, bound in ((CACHED, 3), (COLD, 2), (ABSENT, 3))},
    **{lookups(kind, 1).p99: bound for kind, bound in ((CACHED, 0.5), (COLD, 1), (ABSENT, 1))},
    lookups(CACHED, 1).processor: 0.34,
}
"""Bounds on the ratio of this build to the other build (this ÷ base): at least for rates, at most for the others."""
