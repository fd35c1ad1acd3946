"""How the benchmark holds this build against another one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bench.__main__ import main
from bench.base import NoRevision, Revision, find_revision
from bench.builds import Build
from bench.comparison import NO_WORSE, Interval, Outcome, compare, interval
from bench.comparison_table import COLUMNS, heading, render
from bench.measurements import Figure, Measurements
from bench.plan import COMPARED, PEERS, QUICK, REFERENCES, Plan, default_parts, planned
from bench.results import comparison
from bench.run import Contestant, Run, turns
from bench.summary import typical
from tests.support.git import new_repository

RATE = Figure("rate", "Ingest", "orders/s")
TIME = Figure("time", "Recovery", "s")
GROWTH = Figure("growth", "Growth", "MB", comparable=False)
BASE = Revision("0123456789abcdef", "What was before", "2026-11-01")
THIS_BUILD = Build("this", Path("/this"), Path("/this/python"))
BASE_BUILD = Build("base", Path("/base"), Path("/base/python"))


def measured(figure: Figure, *values: float) -> Measurements:
    """Return measurements of one figure, a value a round."""
    measurements = Measurements()
    for number, value in enumerate(values, 1):
        measurements.record(number, {figure: value})
    return measurements


def test_an_interval_is_students_of_the_logarithms() -> None:
    """For three ratios 1/2, 1, 2: s = ln 2, t = 4.303, so the interval is 2 to the power of ± 4.303 / √3."""
    found = interval([0.5, 1.0, 2.0])
    assert found.ratio == pytest.approx(1)
    assert (found.low, found.high) == (pytest.approx(2 ** (-4.303 / 3**0.5)), pytest.approx(2 ** (4.303 / 3**0.5)))


def test_one_ratio_has_no_interval_and_decides_nothing() -> None:
    """However bad it looks."""
    assert interval([0.1]) == Interval(pytest.approx(0.1), None, None)
    assert interval([0.1]).outcome is Outcome.UNDECIDED


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=60))
def test_an_interval_holds_its_ratio_and_turns_with_it(ratios: list[float]) -> None:
    """The interval of the inverse ratios is the inverse of the interval, whatever the number of rounds."""
    found, inverse = interval(ratios), interval([1 / ratio for ratio in ratios])
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.ratio * (1 + 1e-9)
    assert found.ratio <= found.high * (1 + 1e-9)
    assert inverse.low == pytest.approx(1 / found.high)


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.80, 0.969, Outcome.WORSE),
        (0.80, NO_WORSE, Outcome.UNDECIDED),
        (0.96, 1.20, Outcome.UNDECIDED),
        (NO_WORSE, 1.20, Outcome.AS_GOOD),
        (1.01, 1.20, Outcome.AS_GOOD),
        (1.04, 1.20, Outcome.BETTER),
    ],
)
def test_a_build_is_worse_only_when_all_of_the_interval_says_so(low: float, high: float, outcome: Outcome) -> None:
    """Below 0.97 as a whole; one end alone decides nothing."""
    assert Interval((low + high) / 2, low, high).outcome is outcome


def test_a_ratio_above_1_is_better_whatever_the_unit() -> None:
    """Twice the rate and half the time are both twice as good."""
    [rate] = compare(measured(RATE, 200, 220), measured(RATE, 100, 110))
    [time] = compare(measured(TIME, 1.0, 2.0), measured(TIME, 2.0, 4.0))
    assert rate.gain == time.gain == Interval(pytest.approx(2), pytest.approx(2), pytest.approx(2))
    assert rate.outcome is time.outcome is Outcome.BETTER
    assert (rate.this_over_base, time.this_over_base) == (pytest.approx(2), pytest.approx(0.5))


@pytest.mark.parametrize(
    ("figure", "bound", "met"), [(RATE, 2, True), (RATE, 2.1, False), (TIME, 2, True), (TIME, 1.9, False)]
)
def test_a_target_is_for_this_over_base(figure: Figure, bound: float, met: bool) -> None:
    """At least for a rate, at most for a time; what has no target is not judged."""
    [found] = compare(measured(figure, 200, 220), measured(figure, 100, 110), {figure: bound})
    assert found.met is met
    assert found.document()["target"] == f"{'≥' if figure is RATE else '≤'} {bound}"
    [without] = compare(measured(figure, 200), measured(figure, 100))
    assert (without.met, without.target) == (None, "")


def test_rounds_are_paired() -> None:
    """A machine that slows down by ten times hits both builds: the ratio of each round stays what it is."""
    [found] = compare(measured(RATE, 900, 500, 90), measured(RATE, 1000, 556, 100))
    assert found.gains == (0.9, pytest.approx(0.899, abs=1e-3), 0.9)
    assert found.outcome is Outcome.WORSE


def test_what_makes_no_ratio_is_not_judged() -> None:
    """Growth of memory may be nothing, or less; a round in which one build failed gives no ratio."""
    [growth] = compare(measured(GROWTH, 0.1, 0.2), measured(GROWTH, 5.0, 6.0))
    [zero] = compare(measured(TIME, 0.0, 1.0), measured(TIME, 1.0, 1.0))
    [short] = compare(measured(TIME, 2.0), measured(TIME, 1.0, 1.0))
    assert (growth.gain, growth.outcome, growth.this_over_base, zero.gain) == (None, None, None, None)
    assert len(short.gains) == 1
    assert compare(measured(TIME, 1.0), measured(RATE, 1.0)) == []


def test_two_values_of_a_round_count_as_their_geometric_mean() -> None:
    """As ratios do; a value that is not above 0 has none."""
    assert typical([1.0, 4.0]) == pytest.approx(2)
    assert typical([0.0, 4.0]) == 2
    assert typical([7.5]) == 7.5


def test_the_builds_take_turns() -> None:
    """Base, this, this, base; the next round the other way about; one build alone has one turn."""
    builds = (BASE_BUILD, THIS_BUILD)
    assert [build.name for build in turns(builds, 1)] == ["base", "this", "this", "base"]
    assert [build.name for build in turns(builds, 2)] == ["this", "base", "base", "this"]
    assert turns((THIS_BUILD,), 2) == (THIS_BUILD,)


async def test_both_builds_are_measured_in_every_round() -> None:
    """Each round's two values a build are kept, and stand for one; a contestant that fails has no further rounds."""
    run = _run()
    asked: list[str] = []

    async def measure(build: Build) -> Mapping[Figure, float]:
        asked.append(build.name)
        return {RATE: float(len(asked))}

    await run.run_rounds([Contestant("steady", measure), Contestant("broken", _broken)], 2)
    assert asked == ["base", "this", "this", "base", "this", "base", "base", "this"]
    assert run.runs[1] == {"round": 1, "build": "this", "figures": {"rate": [2.0, 3.0]}}
    assert run.measurements.of(RATE) == [pytest.approx(6**0.5), pytest.approx(40**0.5)]
    assert run.base.of(RATE) == [pytest.approx(4**0.5), pytest.approx(42**0.5)]
    assert run.measurements.failures == ["broken, base: OSError: away"]


async def _broken(_build: Build) -> Mapping[Figure, float]:
    raise OSError("away")


def _run() -> Run:
    testbed: Any = type("Testbed", (), {"builds": (BASE_BUILD, THIS_BUILD), "this": THIS_BUILD})()
    return Run(Plan(parts=frozenset()), testbed)


def test_the_table_says_what_is_worse_and_what_misses_its_target() -> None:
    """In capitals, with its interval, and once more below; what has no ratio has empty columns."""
    compared = [
        *compare(measured(RATE, 90, 90), measured(RATE, 100, 100), {RATE: 0.95}),
        *compare(measured(GROWTH, 1.0, 1.0), measured(GROWTH, 1.0, 1.0)),
    ]
    header, rule, worse, growth, *rest = render(compared).splitlines()
    assert {line.count("|") for line in (header, rule, worse, growth)} == {len(COLUMNS) + 1}
    assert [cell.strip() for cell in worse.split("|")[1:-1]] == [
        "Ingest", "100 orders/s", "90.0 orders/s", "0.90", "≥ 0.95", "MISSED", "0.90", "0.90 to 0.90", "2", "WORSE"
    ]  # fmt: skip
    assert [cell.strip() for cell in growth.split("|")[4:-1]] == [""] * 7
    assert rest[-1] == "WORSE than base: Ingest: 0.90 times as good (0.90 to 0.90)"


def test_the_heading_says_what_is_compared() -> None:
    """Both commits, the number of rounds, and that a quick run says little."""
    plan = planned(frozenset({"ingest"}), "", quick=True, base=True, chosen={})
    text = heading(BASE, {"id": "fedcba9876543210", "modified": True}, plan)
    assert "this: fedcba9876, with changes that are not committed\n" in text
    assert "base: 0123456789 of 2026-11-01 (What was before)\n" in text
    assert "rounds: 3; of memory and recovery: 2. A QUICK RUN" in text
    assert "QUICK" not in heading(BASE, {}, full_plan())


def full_plan() -> Plan:
    return planned(frozenset({"ingest"}), "", quick=False, base=True, chosen={})


def test_the_results_hold_every_ratio_and_value() -> None:
    """The JSON names the base, what is worse, and each figure with its interval and all its rounds."""
    compared = compare(measured(TIME, 2.0, 2.0), measured(TIME, 1.0, 1.0))
    found = json.loads(json.dumps(comparison(BASE, compared, [{"round": 1}])))
    assert found["worse"] == ["time"]
    assert found["base"] == {"id": BASE.id, "subject": BASE.subject, "date": BASE.date}
    assert found["figures"]["time"]["times_as_good"] == {"ratio": 0.5, "low": 0.5, "high": 0.5}
    assert (found["figures"]["time"]["rounds"], found["figures"]["time"]["outcome"]) == ([0.5, 0.5], "worse")
    assert found["runs"] == [{"round": 1}]


def test_a_comparison_has_more_rounds_of_less() -> None:
    """Ten where noise matters; whoever says how many is obeyed, and memory has no more than that."""
    assert full_plan().rounds == COMPARED["rounds"] == 10
    plan = planned(frozenset(), "", quick=True, base=True, chosen={"rounds": 1, "seed": None, "random_uids": False})
    assert (plan.rounds, plan.few_rounds, plan.orders, plan.quick) == (1, 1, QUICK["orders"], True)
    parts = default_parts(quick=False, plots=False, base=True, peers=PEERS)
    assert parts >= {"ingest", "latency", "lookups", "memory"}
    assert not parts & REFERENCES


def test_a_revision_is_any_name_of_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id, a short one, a tag; what is none, or looks like an option, is said to be none. A hook has no say in it."""
    git = new_repository(tmp_path / "repository")
    assert git.commit(a_txt="first").returncode == 0
    commit = git.must("git", "rev-parse", "HEAD")
    git.must("git", "tag", "--annotate", "--message", "first", "v1")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert {find_revision(name, git.folder).id for name in ("HEAD", commit[:8], "v1")} == {commit}
    assert find_revision("v1", git.folder).subject == "a change"
    for name in ("nonsense", "--all", "HEAD:a.txt"):
        with pytest.raises(NoRevision, match="is not a commit of the git repository"):
            find_revision(name, git.folder)


def test_a_revision_that_is_none_is_said_before_anything_starts() -> None:
    """Wrong usage, with exit code 2; so is a part that measures no build of orderflow."""
    said = CliRunner().invoke(main, ["--base", "no/such/revision"])
    assert (said.exit_code, "'no/such/revision' is not a commit" in said.output) == (2, True)
