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
        """Half the range, as a share of the median: 0.05 is plus or minus 5 %."""
        return (self.high - self.low) / 2 / abs(self.median) if self.median else 0.0


def summarise(values: Sequence[float]) -> Summary:
    """Return the summary of at least one value."""
    return Summary(median(values), min(values), max(values), len(values))


def typical(values: Sequence[float]) -> float:
    """Return what stands for several values of one round: the geometric mean, where there is one."""
    if len(values) == 1:
        return values[0]
    return geometric_mean(values) if min(values) > 0 else fmean(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of `values` that at least `percent` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
