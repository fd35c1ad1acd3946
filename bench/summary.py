"""Medians, spreads and percentiles. Pure."""

import math
from collections.abc import Sequence
from statistics import fmean, geometric_mean, median

import attrs


@attrs.frozen
class Summary:
    """A figure or a ratio over all rounds."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def spread(self) -> float:
        """Half of the range divided by the median: 0.05 means ± 5 %."""
        return (self.high - self.low) / 2 / abs(self.median) if self.median else 0.0


def summarise(values: Sequence[float]) -> Summary:
    """Return the summary of one or more values."""
    return Summary(median(values), min(values), max(values), len(values))


def typical(values: Sequence[float]) -> float:
    """Return one value for several values of a round: the geometric mean, or the mean if a value is not positive."""
    if len(values) == 1:
        return values[0]
    return geometric_mean(values) if min(values) > 0 else fmean(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile of `values` (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
