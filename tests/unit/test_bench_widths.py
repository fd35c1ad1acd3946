"""How the benchmark shows what more workers, partitions and HTTP processes change."""

from bench.measurements import Measurements
from bench.plan import Plan
from bench.table import render
from bench.targets import CACHED, wide_ingest, wide_lookups
from bench.widths import wide_figures, widths

PLAN = Plan(parts=frozenset({"wide"}), wide_workers=(2, 1), wide_partitions=(256, 4), wide_processes=(1, 2))


def rows(table: str) -> list[list[str]]:
    """Return the cells of a table's lines without its header."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_widths_have_ratios_to_the_smallest_of_the_same_table() -> None:
    """Of the rate, and of the processor time of all sides; what was not measured is left empty."""
    measurements = Measurements()
    one, two, many = (wide_ingest(*each) for each in ((1, 4), (2, 4), (2, 256)))
    measurements.record(1, {one.rate: 20_000, **one.spent.values({"program": 20, "postgresql": 20})})
    measurements.record(1, {two.rate: 30_000, two.ready: 0.5, **two.spent.values({"program": 30, "kafka": 20})})
    measurements.record(
        1, {many.rate: 15_000, many.idle: 25.0, many.memory: 80, many.wal: 2_000, **many.spent.values({"program": 100})}
    )
    lookups = wide_lookups(CACHED, 1)
    measurements.record(1, {lookups.rate: 9_000, lookups.p99: 3.5, **lookups.spent.values({"valkey": 10})})
    tables = widths(measurements, PLAN)
    assert list(tables) == ["Ingest, 4 partitions", "Ingest, 2 workers", "Lookups, cached"]
    assert rows(tables["Ingest, 4 partitions"]) == [
        ["1", "20,000", "1.00", "20.0", "20.0", "", "", "40.0", "1.00", "", "", "", ""],
        ["2", "30,000", "1.50", "30.0", "", "", "20.0", "50.0", "1.25", "0.50", "", "", ""],
    ]
    assert rows(tables["Ingest, 2 workers"]) == [
        ["4", "30,000", "1.00", "30.0", "", "", "20.0", "50.0", "1.00", "0.50", "", "", ""],
        ["256", "15,000", "0.50", "100", "", "", "", "100", "2.00", "", "25.0", "80.0", "2,000"],
    ]
    assert rows(tables["Lookups, cached"]) == [["1", "9,000", "1.00", "3.50", "", "", "10.0", "", "10.0", "1.00"]]
    assert render(measurements, (), 1, wide_figures(PLAN)).count("\n") == 1
    assert widths(Measurements(), PLAN) == {}
