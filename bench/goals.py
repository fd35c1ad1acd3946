"""The goals for the figures, and whether they are met. Pure."""

import attrs

from bench.measurements import Figure, Measurements
from bench.summary import Summary, summarise


@attrs.frozen
class Goal:
    """A bound on the ratio of a figure to the figure `reference` of the same round. None: on the figure itself.

    `cores` is the number of CPU cores that the machine must have for this goal.
    """

    figure: Figure
    bound: float
    reference: Figure | None = None
    at_most: bool = False
    cores: int = 1

    @property
    def target(self) -> str:
        """The bound as text."""
        unit = "×" if self.reference else self.figure.unit
        return f"{'≤' if self.at_most else '≥'} {self.bound:g} {unit}"


@attrs.frozen
class Verdict:
    """A goal and the measured value: the ratio, or the figure itself."""

    goal: Goal
    value: Summary

    @property
    def met(self) -> bool:
        """Whether the median is within the bound."""
        within = self.value.median <= self.goal.bound
        return within if self.goal.at_most else self.value.median >= self.goal.bound


def judge(goal: Goal, measurements: Measurements, cores: int) -> Verdict | None:
    """Return the verdict. None if a figure was not measured, or the machine has too few cores."""
    values = (
        measurements.ratios(goal.figure, goal.reference) if goal.reference is not None else measurements.of(goal.figure)
    )
    return Verdict(goal, summarise(values)) if values and cores >= goal.cores else None
