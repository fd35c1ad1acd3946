"""Decides for each figure whether this build is better or worse than another one. Pure.

A round measures each build twice, in the order base, this, this, base. The next round uses the reverse order. So a slow
drift affects both builds equally. A round gives one ratio, of the geometric means of the two values of each build. All
ratios are oriented so that a ratio above 1 means that this build is better.

The interval is Student's t interval for paired observations. It is computed for the logarithms of the ratios and
transformed back: exp(mean ± t · s / √n), where s is the standard deviation of the n logarithms and t the 97.5 %
quantile for n - 1 degrees of freedom. With logarithms a ratio and its inverse have the same weight, and the skewed
distribution of times does not matter.
Source: NIST/SEMATECH e-Handbook of Statistical Methods, https://www.itl.nist.gov/div898/handbook: 7.3.1 for paired
observations, 1.3.6.7.2 for the quantiles.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import exp, log, sqrt
from statistics import fmean, median, stdev
from types import MappingProxyType
from typing import Any

import attrs

from bench.measurements import Figure, Measurements

NO_WORSE = 0.97
"""A figure counts as worse only if its whole interval is below this value."""
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""The 97.5 % quantiles of t for 1 to 30 degrees of freedom. For more, the last one is used: it is slightly larger."""


class Outcome(StrEnum):
    """The result for an interval."""

    WORSE = "worse"
    BETTER = "better"
    AS_GOOD = "as good"
    UNDECIDED = "undecided"


@attrs.frozen
class Interval:
    """The geometric mean of ratios and its 95 % interval. The interval needs at least two ratios."""

    ratio: float
    low: float | None
    high: float | None

    @property
    def outcome(self) -> Outcome:
        """Return the result: `WORSE` if the whole interval is below 0.97, `BETTER` if it is above 1 ÷ 0.97."""
        if self.low is None or self.high is None:
            return Outcome.UNDECIDED
        if self.high < NO_WORSE:
            return Outcome.WORSE
        if self.low > 1 / NO_WORSE:
            return Outcome.BETTER
        return Outcome.AS_GOOD if self.low >= NO_WORSE else Outcome.UNDECIDED


@attrs.frozen
class Compared:
    """A figure of both builds: their medians, and how much better this build is. `gain` is None without a ratio.

    `bound` is the target for this ÷ base: at least if more is better, else at most. None: there is no target.
    """

    figure: Figure
    base: float
    this: float
    gains: tuple[float, ...]
    gain: Interval | None
    bound: float | None = None

    @property
    def outcome(self) -> Outcome | None:
        """Return the result, or None if there is no ratio."""
        return self.gain.outcome if self.gain else None

    @property
    def this_over_base(self) -> float | None:
        """Return the ratio this ÷ base, not oriented."""
        if self.gain is None:
            return None
        return self.gain.ratio if self.figure.more_is_better else 1 / self.gain.ratio

    @property
    def target(self) -> str:
        """The target as text; empty if there is none."""
        return "" if self.bound is None else f"{'≥' if self.figure.more_is_better else '≤'} {self.bound:g}"

    @property
    def met(self) -> bool | None:
        """Whether the ratio meets the target, or None if there is no ratio or no target."""
        if self.this_over_base is None or self.bound is None:
            return None
        more = self.figure.more_is_better
        return self.this_over_base >= self.bound if more else self.this_over_base <= self.bound

    def document(self) -> dict[str, Any]:
        """Return the comparison for the results' JSON."""
        gain = attrs.asdict(self.gain) if self.gain else None
        return {
            "title": self.figure.title,
            "unit": self.figure.unit,
            "more_is_better": self.figure.more_is_better,
            "base": self.base,
            "this": self.this,
            "this_over_base": self.this_over_base,
            "times_as_good": gain,
            "rounds": list(self.gains),
            "outcome": self.outcome,
            "target": self.target,
            "met": self.met,
        }


def interval(ratios: Sequence[float]) -> Interval:
    """Return the interval of one or more ratios. All ratios must be above 0."""
    logarithms = [log(ratio) for ratio in ratios]
    mean = fmean(logarithms)
    freedom = len(logarithms) - 1
    if not freedom:
        return Interval(exp(mean), None, None)
    reach = _T[min(freedom, len(_T)) - 1] * stdev(logarithms) / sqrt(len(logarithms))
    return Interval(exp(mean), exp(mean - reach), exp(mean + reach))


def compare(
    this: Measurements, base: Measurements, bounds: Mapping[Figure, float] = MappingProxyType({})
) -> list[Compared]:
    """Compare, round by round, each figure that was measured for both builds. Keeps the order of measurement.

    `bounds` are the targets for this ÷ base.
    """
    return [_compared(figure, this, base, bounds.get(figure)) for figure in this.values if figure in base.values]


def _compared(figure: Figure, this: Measurements, base: Measurements, bound: float | None) -> Compared:
    ours, theirs = this.values[figure], base.values[figure]
    pairs = [(ours[number], theirs[number]) for number in sorted(ours.keys() & theirs.keys())]
    gains: tuple[float, ...] = ()
    if figure.comparable and pairs and all(value > 0 for pair in pairs for value in pair):
        gains = tuple(mine / other if figure.more_is_better else other / mine for mine, other in pairs)
    found = interval(gains) if gains else None
    return Compared(figure, median(theirs.values()), median(ours.values()), gains, found, bound)
