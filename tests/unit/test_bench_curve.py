"""How the benchmark shows what the number of stored orders changes."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.__main__ import main
from bench.curve import curve, size_figures
from bench.measurements import Measurements
from bench.parts import sizes
from bench.plan import EMBEDDED, SMALL, Plan
from bench.run import Run
from bench.stored_orders import stored_uid
from bench.table import render
from bench.targets import stored_size

PLAN = Plan(parts=frozenset({"sizes"}), sizes=(1_000_000, 100_000), servers=(EMBEDDED, SMALL))


def test_the_curve_has_ratios_of_the_same_server() -> None:
    """Ingest beside empty tables, cold lookups beside the fewest orders; a server that was left out has no line."""
    measurements = Measurements()
    empty, few, many = (stored_size(EMBEDDED, size) for size in (0, 100_000, 1_000_000))
    measurements.record(1, {empty.ingest: 20_000, empty.ready: 0.5})
    measurements.record(1, {few.ingest: 18_000, few.cold_p99: 4.0, few.page: 1.5, few.ready: 0.5})
    measurements.record(1, {many.ingest: 15_000, many.cold_p99: 6.0, many.page: 2.0, many.ready: 0.75})
    header, _rule, *lines = curve(measurements, PLAN).splitlines()
    assert "÷ 100,000 stored" in header
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines] == [
        ["embedded", "0", "20,000", "1.00", "", "", "", "0.50"],
        ["embedded", "100,000", "18,000", "0.90", "4.00", "1.00", "1.50", "0.50"],
        ["embedded", "1,000,000", "15,000", "0.75", "6.00", "1.50", "2.00", "0.75"],
    ]
    assert render(measurements, (), 1, size_figures(PLAN)).count("\n") == 1
    assert curve(Measurements(), PLAN) == ""


def test_a_size_without_room_on_the_disk_is_left_out_and_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest first; the others are measured."""
    testbed: Any = type("Testbed", (), {"folder": Path("/"), "builds": (1,)})()
    run = Run(PLAN, testbed)
    free: Any = type("Usage", (), {"free": 7_000_000_000})()
    monkeypatch.setattr(sizes.shutil, "disk_usage", lambda _folder: free)
    assert sizes.sizes_that_fit(run) == [100_000]
    [note] = run.measurements.notes
    assert note == "left out: 1,000,000 stored orders need 9 GB of free disk, there are 7"


def test_a_size_that_is_none_is_wrong_usage() -> None:
    """Said before anything starts."""
    for arguments in (("--sizes", "many"), ("--sizes", "10"), ("--servers", "oracle")):
        assert CliRunner().invoke(main, arguments).exit_code == 2


def test_a_stored_uid_is_known_without_asking() -> None:
    """As PostgreSQL makes it from the number, see `bench.stored_orders`."""
    assert stored_uid(42) == "00000042a1d0c6e83f0"
    assert stored_uid(42, random_uids=True) == "a1d0c6e83f027327d84"
