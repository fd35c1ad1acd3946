"""The tables of the part `wide`: what more workers, partitions and HTTP processes change. Pure."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from bench.engine_run import WORKERS
from bench.measurements import Figure, Measurements
from bench.plan import Plan
from bench.table import aligned, typical
from bench.targets import CACHED, COLD, SIDES, Spent, Wide, WideIngest, WideLookups, wide_ingest, wide_lookups

F = TypeVar("F", bound=Wide)
_SIDES = ("PostgreSQL", "Redis", "Kafka", "sum", "÷ first")
_INGEST = (
    "orders/s",
    "÷ first",
    "engine, µs/order",
    *_SIDES,
    "ready, s",
    "idle worker, ms/s",
    "peak, MB",
    "WAL, bytes/order",
)
_LOOKUPS = ("req/s", "÷ first", "p99, ms", "server, µs/request", *_SIDES)
_RIGHT = frozenset(range(len(_INGEST) + 1))


def widths(measurements: Measurements, plan: Plan) -> Mapping[str, str]:
    """Return, by title, the tables of which something was measured.

    Ratios are medians over the rounds, to the first line of the same table and round.
    """
    tables = {}
    for title, column, by_width in _ingests(plan):
        rows = _rows(measurements, by_width, _ingest_row)
        tables[title] = "\n".join(aligned([(column, *_INGEST), *rows], _RIGHT)) if rows else ""
    for kind, figures in _lookups(plan).items():
        rows = _rows(measurements, figures, _lookups_row)
        header = ("processes", *_LOOKUPS)
        tables[f"Lookups, {kind}"] = "\n".join(aligned([header, *rows], _RIGHT)) if rows else ""
    return {title: table for title, table in tables.items() if table}


def wide_figures(plan: Plan) -> frozenset[Figure]:
    """Return all figures that the tables show."""
    ingests = [one for _, _, by_width in _ingests(plan) for one in by_width.values()]
    lookups = [one for by_width in _lookups(plan).values() for one in by_width.values()]
    shown = {figure for one in ingests for figure in (one.ready, one.idle, one.memory, one.wal)}
    shown |= {one.p99 for one in lookups}
    both: list[Wide] = [*ingests, *lookups]
    return frozenset(shown | {figure for one in both for figure in (one.rate, *_spent(one.spent))})


def _ingests(plan: Plan) -> list[tuple[str, str, dict[int, WideIngest]]]:
    fewest = min(plan.wide_partitions)
    return [
        (
            f"Ingest, {fewest} partitions",
            "workers",
            {workers: wide_ingest(workers, fewest) for workers in sorted(plan.wide_workers)},
        ),
        (
            f"Ingest, {WORKERS} workers",
            "partitions",
            {partitions: wide_ingest(WORKERS, partitions) for partitions in sorted(plan.wide_partitions)},
        ),
    ]


def _lookups(plan: Plan) -> dict[str, dict[int, WideLookups]]:
    processes = sorted(plan.wide_processes)
    return {kind: {count: wide_lookups(kind, count) for count in processes} for kind in (CACHED, COLD)}


def _spent(spent: Spent) -> tuple[Figure, ...]:
    return (*(spent.sides[side] for side in SIDES), spent.all)


def _rows(
    measurements: Measurements, by_width: Mapping[int, F], row: Callable[[Measurements, F, F], tuple[str, ...]]
) -> list[tuple[str, ...]]:
    first = by_width[min(by_width)]
    measured = [width for width in by_width if measurements.of(by_width[width].rate)]
    return [(f"{width:,}", *row(measurements, by_width[width], first)) for width in measured]


def _ingest_row(measurements: Measurements, figures: WideIngest, first: WideIngest) -> tuple[str, ...]:
    return (
        typical(measurements.of(figures.rate)),
        typical(measurements.ratios(figures.rate, first.rate)),
        *_spent_cells(measurements, figures.spent, first.spent),
        *(typical(measurements.of(figure)) for figure in (figures.ready, figures.idle, figures.memory, figures.wal)),
    )


def _lookups_row(measurements: Measurements, figures: WideLookups, first: WideLookups) -> tuple[str, ...]:
    return (
        typical(measurements.of(figures.rate)),
        typical(measurements.ratios(figures.rate, first.rate)),
        typical(measurements.of(figures.p99)),
        *_spent_cells(measurements, figures.spent, first.spent),
    )


def _spent_cells(measurements: Measurements, spent: Spent, first: Spent) -> tuple[str, ...]:
    values = (typical(measurements.of(figure)) for figure in _spent(spent))
    return (*values, typical(measurements.ratios(spent.all, first.all)))
