"""All figures, with their names in the results, and their goals."""

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
VISIBILITY_ERROR = Figure("visibility_error_p99", "Error of these times, p99", MILLISECONDS, comparable=False)

MEMORY_PEAK = Figure("memory_peak", "Memory of a worker, peak", MEGABYTES)
MEMORY_GROWTH = Figure("memory_growth", "Memory of a worker, growth", MEGABYTES, comparable=False)

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


def lookups(server: str, kind: str, processes: int) -> tuple[Figure, Figure]:
    """Return the figures of a server's lookups: the rate per second, and the p99 of their latency."""
    key = f"lookups_{server}_{kind}_{processes}"
    title = f"Lookups, {kind}, {processes} process{'es' if processes > 1 else ''}"
    title += ", plain handler" if server == "plain" else ""
    return Figure(key, title, "req/s"), Figure(f"{key}_p99", f"{title}, p99", MILLISECONDS)


def batch_size(orders: int) -> Figure:
    """Return the figure for ingest in batches of at most `orders`."""
    return Figure(f"batch_size_{orders}", f"Ingest, batches of {orders:,}", RATE)


def table_size(orders: int) -> Figure:
    """Return the figure for ingest into tables that already contain `orders`."""
    return Figure(f"table_size_{orders}", f"Ingest, {orders:,} stored", RATE)


GOALS = (
    Goal(INGEST, 1.1, COPY_LIMIT),
    Goal(INGEST, 1.25, PEER),
    Goal(INGEST_INVALID, 0.8, INGEST),
    Goal(INGEST_REPEATS, 0.8, INGEST),
    Goal(INGEST_STORED, 0.8, INGEST),
    Goal(READY_STORED, 1.1, READY, at_most=True),
    Goal(INGEST, 0.9, INGEST_QUIET),
    Goal(LATENCY_P50, 1.5, BARE_P50, at_most=True),
    Goal(BURST_P99, 10, LATENCY_P50, at_most=True),
    *(
        goal
        for processes in (1, 2)
        for kind, bound in (("cached", 2.5), ("cold", 4))
        for ours, plain in [(lookups("orderflow", kind, processes), lookups("plain", kind, processes))]
        for goal in (Goal(ours[0], bound, plain[0]), Goal(ours[1], 1, plain[1], at_most=True))
    ),
    *(
        Goal(lookups("orderflow", kind, 2)[0], 1.15, lookups("orderflow", kind, 1)[0], cores=2)
        for kind in ("cached", "cold")
    ),
    Goal(MEMORY_PEAK, 150, at_most=True),
    Goal(MEMORY_GROWTH, 5, at_most=True),
    Goal(MEMORY_COMPRESSED, 200, at_most=True),
    Goal(RECOVERY, 2, at_most=True),
)
