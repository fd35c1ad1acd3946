"""The curve over the number of stored orders, as a table: how the figures change with the size of the tables. Pure."""

from bench.measurements import Figure, Measurements
from bench.plan import Plan
from bench.table import aligned, typical
from bench.targets import stored_size

_RIGHT = frozenset({1, 2, 3, 4, 5, 6, 7})


def curve(measurements: Measurements, plan: Plan) -> str:
    """Return a line for each server and size that was measured. Empty if there is none.

    Ratios are medians over the rounds: of ingest to that on empty tables of the same server and round, and of cold
    lookups' p99 to that with the fewest stored orders.
    """
    sizes = sorted(set(plan.sizes))
    rows = [
        _row(measurements, server, size, min(sizes))
        for server in plan.servers
        for size in (0, *sizes)
        if measurements.of(stored_size(server, size).ingest)
    ]
    header = (
        *("PostgreSQL", "stored", "ingest, orders/s", "÷ empty", "cold p99, ms", f"÷ {min(sizes):,} stored"),
        *("a page of /orders, ms", "ready, s"),
    )
    return "\n".join(aligned([header, *rows], _RIGHT)) if rows else ""


def size_figures(plan: Plan) -> frozenset[Figure]:
    """Return all figures that the curve shows."""
    every = [stored_size(server, size) for server in plan.servers for size in (0, *plan.sizes)]
    return frozenset(figure for one in every for figure in (one.ingest, one.ready, one.cold_p99, one.page))


def _row(measurements: Measurements, server: str, size: int, smallest: int) -> tuple[str, ...]:
    figures, empty, first = (stored_size(server, each) for each in (size, 0, smallest))
    return (
        *(server, f"{size:,}", typical(measurements.of(figures.ingest))),
        typical(measurements.ratios(figures.ingest, empty.ingest)),
        typical(measurements.of(figures.cold_p99)),
        typical(measurements.ratios(figures.cold_p99, first.cold_p99)),
        *(typical(measurements.of(figures.page)), typical(measurements.of(figures.ready))),
    )
