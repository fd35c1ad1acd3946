"""The table of a run. Pure."""

from collections.abc import Collection, Sequence
from statistics import median

from bench.goals import Goal, Verdict, judge
from bench.measurements import Figure, Measurements
from bench.summary import Summary, summarise

COLUMNS = ("figure", "median", "spread", "compared with", "ratio", "spread", "target", "")
_RIGHT = frozenset({1, 2, 4, 5})
_PERCENT = 100


def render(
    measurements: Measurements, goals: Sequence[Goal], cores: int, left_out: Collection[Figure] = frozenset()
) -> str:
    """Return the table: a line for each goal whose figures were measured, then the figures without a goal.

    Those in `left_out` are not shown.
    """
    shown = {goal.figure for goal in goals if judge(goal, measurements, cores)} | set(left_out)
    rows = _judged_rows(measurements, goals, cores)
    rows += [_plain(figure, measurements) for figure in measurements.values if figure not in shown]
    return "\n".join(aligned([COLUMNS, *rows], _RIGHT))


def render_goals(measurements: Measurements, goals: Sequence[Goal], cores: int) -> str:
    """Return only the lines of the goals whose figures were measured. Empty if there are none."""
    rows = _judged_rows(measurements, goals, cores)
    return "\n".join(aligned([COLUMNS, *rows], _RIGHT)) if rows else ""


def _judged_rows(measurements: Measurements, goals: Sequence[Goal], cores: int) -> list[tuple[str, ...]]:
    return [_judged(verdict, measurements) for goal in goals if (verdict := judge(goal, measurements, cores))]


def _judged(verdict: Verdict, measurements: Measurements) -> tuple[str, ...]:
    goal = verdict.goal
    met = "met" if verdict.met else "MISSED"
    if goal.reference is None:
        return (goal.figure.title, *_cells(goal.figure, verdict.value), "", "", "", goal.target, met)
    own = _cells(goal.figure, summarise(measurements.of(goal.figure)))
    ratio = verdict.value
    return (goal.figure.title, *own, goal.reference.title, f"{ratio.median:.2f} ×", _spread(ratio), goal.target, met)


def _plain(figure: Figure, measurements: Measurements) -> tuple[str, ...]:
    return (figure.title, *_cells(figure, summarise(measurements.of(figure))), "", "", "", "", "")


def _cells(figure: Figure, summary: Summary) -> tuple[str, str]:
    return f"{number(summary.median)} {figure.unit}", _spread(summary)


def number(value: float) -> str:
    """Format a number: no decimals from 100 on, one from 10 on, else two."""
    digits = next((digits for digits, least in ((0, 100), (1, 10)) if abs(value) >= least), 2)
    return f"{value:,.{digits}f}"


def typical(values: Sequence[float]) -> str:
    """Return the median of the rounds as a cell. Empty if there are none."""
    return number(median(values)) if values else ""


def _spread(summary: Summary) -> str:
    return f"± {summary.spread * _PERCENT:.0f} %" if summary.rounds > 1 else ""


def aligned(rows: Sequence[tuple[str, ...]], right: frozenset[int]) -> list[str]:
    """Return the lines of a Markdown table. The first row is the header. The columns in `right` are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| "
        + " | ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    ]
    rule = [f"{'-' * (width + 1)}:" if column in right else "-" * (width + 2) for column, width in enumerate(widths)]
    return [lines[0], f"|{'|'.join(rule)}|", *lines[1:]]
