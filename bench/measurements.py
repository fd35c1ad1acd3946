"""What a run has measured so far: a value for each figure and round, and what must be known to read them."""

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class Figure:
    """Something that is measured. `key` is its name in the results' JSON.

    One that is not `comparable` makes no sense as a ratio to the same figure of another build.
    """

    key: str
    title: str
    unit: str
    comparable: bool = True

    @property
    def more_is_better(self) -> bool:
        """Whether it is a rate. Of times and of memory less is better."""
        return self.unit.endswith("/s")


@attrs.define
class Measurements:
    """Values by figure and round. A ratio compares two figures of the same round only: a noisy hour hits both alike."""

    values: dict[Figure, dict[int, float]] = attrs.field(factory=dict)
    details: list[dict[str, Any]] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    failures: list[str] = attrs.field(factory=list)

    def record(self, round_number: int, values: Mapping[Figure, float]) -> None:
        """Note what one round has shown."""
        for figure, value in values.items():
            self.values.setdefault(figure, {})[round_number] = value

    def of(self, figure: Figure) -> list[float]:
        """Return the figure's value of each round in which it was measured."""
        return list(self.values.get(figure, {}).values())

    def ratios(self, figure: Figure, over: Figure) -> list[float]:
        """Return `figure` ÷ `over` of each round in which both were measured."""
        below = self.values.get(over, {})
        return [value / below[number] for number, value in self.values.get(figure, {}).items() if below.get(number)]
