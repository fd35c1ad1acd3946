"""The results of a run as JSON: all figures and ratios, and the environment of the measurement."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from bench.base import Revision
from bench.comparison import NO_WORSE, Compared, Outcome
from bench.goals import Goal, Verdict, judge
from bench.measurements import Measurements
from bench.plan import Plan
from bench.summary import Summary, summarise
from orderflow.start.project import project_root

LATEST = project_root() / "bench" / "results" / "latest.json"


def document(
    plan: Plan, measurements: Measurements, goals: Sequence[Goal], about: Mapping[str, Any], cores: int
) -> dict[str, Any]:
    """Return the results of this build. `about` describes the environment of the measurement."""
    verdicts = [verdict for goal in goals if (verdict := judge(goal, measurements, cores))]
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **about,
        "plan": {**attrs.asdict(plan), "parts": sorted(plan.parts)},
        "figures": {
            figure.key: {
                "title": figure.title,
                "unit": figure.unit,
                **_summary(summarise(list(values.values()))),
                "values": {str(number): value for number, value in sorted(values.items())},
            }
            for figure, values in measurements.values.items()
        },
        "goals": [_goal(verdict) for verdict in verdicts],
        "runs": measurements.details,
        "notes": measurements.notes,
        "failures": measurements.failures,
    }


def comparison(base: Revision, compared: Sequence[Compared], runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the comparison of this build with `base`. `runs` are all values of each round."""
    return {
        "base": attrs.asdict(base),
        "no_worse": NO_WORSE,
        "worse": [one.figure.key for one in compared if one.outcome is Outcome.WORSE],
        "figures": {one.figure.key: one.document() for one in compared},
        "runs": list(runs),
    }


def _goal(verdict: Verdict) -> dict[str, Any]:
    goal = verdict.goal
    return {
        "figure": goal.figure.key,
        "reference": goal.reference.key if goal.reference else None,
        "target": goal.target,
        "bound": goal.bound,
        "at_most": goal.at_most,
        "met": verdict.met,
        **_summary(verdict.value),
    }


def _summary(summary: Summary) -> dict[str, Any]:
    return {**attrs.asdict(summary), "spread": summary.spread}


def write(results: Mapping[str, Any], path: Path) -> None:
    """Write the results. An existing file is replaced atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(path)
