"""How the benchmark sums up rounds, holds them against its goals, and shows them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.goals import Goal, judge
from bench.measurements import Figure, Measurements
from bench.parts.memory import Samples
from bench.peer import printed_rate
from bench.plan import ASKED_FOR, PARTS, PEERS, PLOTTED, Plan, default_parts
from bench.results import document
from bench.summary import Summary, percentile, summarise
from bench.table import COLUMNS, number, render
from bench.targets import GOALS

OURS = Figure("ours", "Ours", "orders/s")
THEIRS = Figure("theirs", "Theirs", "orders/s")
MEMORY = Figure("memory", "Memory", "MB")


def measured(**rounds: list[float]) -> Measurements:
    """Return measurements of `ours`, `theirs` and `memory`, a value a round."""
    figures = {figure.key: figure for figure in (OURS, THEIRS, MEMORY)}
    measurements = Measurements()
    for key, values in rounds.items():
        for number_of_round, value in enumerate(values, 1):
            measurements.record(number_of_round, {figures[key]: value})
    return measurements


def test_a_summary_is_the_median_and_the_range() -> None:
    """The spread is half the range, as a share of the median."""
    assert summarise([11, 9, 10]) == Summary(10, 9, 11, 3)
    assert summarise([11, 9, 10]).spread == pytest.approx(0.1)
    assert summarise([0.0]).spread == 0


def test_a_percentile_is_one_of_the_values() -> None:
    """The nearest rank is taken: nothing is interpolated."""
    assert [percentile([4, 1, 3, 2], percent) for percent in (0, 25, 50, 99, 100)] == [1, 1, 2, 4, 4]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(1, 100))
def test_so_many_percent_do_not_exceed_a_percentile(values: list[float], percent: float) -> None:
    """At least that share of the values lies at or below it, whatever the values."""
    at_most = sum(value <= percentile(values, percent) for value in values)
    assert at_most / len(values) * 100 >= percent - 1e-9


def test_a_ratio_compares_figures_of_the_same_round() -> None:
    """A round in which one of the two failed gives no ratio."""
    measurements = measured(ours=[100, 50, 70], theirs=[50, 25])
    assert measurements.ratios(OURS, THEIRS) == [2, 2]


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal(OURS, 1.9, THEIRS), True),
        (Goal(OURS, 2.1, THEIRS), False),
        (Goal(MEMORY, 150, at_most=True), True),
        (Goal(MEMORY, 149, at_most=True), False),
    ],
)
def test_a_goal_is_met_by_the_median(goal: Goal, met: bool) -> None:
    """A ratio or a figure is held against its bound, from below or from above."""
    verdict = judge(goal, measured(ours=[100, 60, 90], theirs=[50, 30, 30], memory=[10, 150, 900]), cores=1)
    assert verdict is not None
    assert verdict.met is met


def test_a_goal_that_makes_no_sense_here_is_not_judged() -> None:
    """Nothing is said of what was not measured, nor of more processes where there is no core for them."""
    assert judge(Goal(OURS, 1, THEIRS), measured(ours=[1]), cores=8) is None
    assert judge(Goal(OURS, 1, THEIRS, cores=2), measured(ours=[1], theirs=[1]), cores=1) is None


def test_the_table_shows_goals_first_and_then_the_rest() -> None:
    """Every line has the same columns; a ratio stands beside its figure, its spread and its target."""
    measurements = measured(ours=[900, 1100, 1000], theirs=[500, 500, 500], memory=[151.5])
    goals = (Goal(OURS, 1.5, THEIRS), Goal(MEMORY, 150, at_most=True))
    header, rule, *lines = render(measurements, goals, cores=1).splitlines()
    assert {line.count("|") for line in (header, rule, *lines)} == {len(COLUMNS) + 1}
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == [
        "Ours", "1,000 orders/s", "± 10 %", "Theirs", "2.00 ×", "± 10 %", "≥ 1.5 ×", "met"
    ]  # fmt: skip
    assert "MISSED" in lines[1]
    assert "≤ 150 MB" in lines[1]
    assert "Theirs" in lines[2]


@pytest.mark.parametrize(("value", "shown"), [(14812.4, "14,812"), (99.96, "100.0"), (9.996, "10.00"), (0.041, "0.04")])
def test_a_number_has_as_many_digits_as_it_deserves(value: float, shown: str) -> None:
    """Large numbers are whole, small ones keep what tells them apart."""
    assert number(value) == shown


def test_the_results_hold_every_round() -> None:
    """The JSON names each figure with all its values, and each goal with its verdict."""
    measurements = measured(ours=[100, 120], theirs=[50, 50])
    plan = Plan(parts=frozenset({"ingest"}))
    results = json.loads(json.dumps(document(plan, measurements, (Goal(OURS, 2, THEIRS),), {"commit": {}}, 2)))
    assert results["figures"]["ours"]["values"] == {"1": 100, "2": 120}
    assert results["goals"][0] | {"median": 2.2, "met": True, "reference": "theirs"} == results["goals"][0]


def test_a_peer_says_its_rate_or_not() -> None:
    """The last `= N/s` of its output counts."""
    assert printed_rate("begun\nnative: 100 in 0.01s = 9000/s\npeer: 100 in 0.01s = 12500.5/s\n") == 12500.5
    assert printed_rate("done\n") is None


def test_a_worker_that_grows_is_found() -> None:
    """Growth is measured from after a fifth of the backlog, by the worker that grew most."""
    engine: Any = None
    steady = [(done, 100 + done % 7) for done in range(0, 1001, 10)]
    growing = [(done, 50 + done // 10) for done in range(0, 1001, 10)]
    samples = Samples(engine, 1000, {1: steady, 2: growing})
    assert samples.growth == pytest.approx(70)


def test_a_figure_has_one_goal_of_each_kind() -> None:
    """No goal is declared twice."""
    assert len({(goal.figure, goal.reference) for goal in GOALS}) == len(GOALS)


def test_what_is_measured_by_default() -> None:
    """Plots and a peer are asked for; a quick run leaves out what takes long."""
    assert default_parts(quick=False, plots=False, base=False) == frozenset(PARTS) - PLOTTED - PEERS - ASKED_FOR
    quick = default_parts(quick=True, plots=False, base=False, peers=PEERS)
    assert quick == frozenset(PARTS) - PLOTTED - {"stored", "memory"} - ASKED_FOR
    assert default_parts(quick=True, plots=True, base=False) >= PLOTTED
