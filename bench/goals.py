"""What each figure is to be, and whether it is. Pure."""

import attrs

from bench.measurements import Figure, Measurements
from bench.summary import Summary, summarise


@attrs.frozen
class Goal:
    """A bound on a figure, or on its ratio to another figure of the same round. `over` None: on the figure itself.

    `cores`: how many the machine must have for the goal to make sense.
    """

    figure: Figure
    bound: float
    over: Figure | None = None
    at_most: bool = False
    cores: int = 1

    @property
    def target(self) -> str:
        """The bound in words."""
        unit = "×" if self.over else self.figure.unit
        return f"{'≤' if self.at_most else '≥'} {self.bound:g} {unit}"


@attrs.frozen
class Verdict:
    """A goal and how it turned out: `value` is the ratio, or the figure itself."""

    goal: Goal
    value: Summary

    @property
    def met(self) -> bool:
        """Whether the median keeps to the bound."""
        within = self.value.median <= self.goal.bound
        return within if self.goal.at_most else self.value.median >= self.goal.bound


def judge(goal: Goal, measurements: Measurements, cores: int) -> Verdict | None:
    """Return the verdict, or None when what it needs was not measured (or makes no sense on this machine)."""
    values = measurements.ratios(goal.figure, goal.over) if goal.over is not None else measurements.of(goal.figure)
    return Verdict(goal, summarise(values)) if values and cores >= goal.cores else None
