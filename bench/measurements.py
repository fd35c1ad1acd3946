"""The values that a run has measured so far, for each figure and round, with notes for the reader."""

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class Figure:
    """A quantity that is measured. `key` is its name in the JSON results.

    If it is not `comparable`, its ratio to the same figure of another build has no meaning.
    """

    key: str
    title: str
    unit: str
    comparable: bool = True

    @property
    def more_is_better(self) -> bool:
        """Whether a higher value is better: for rates, but not for times and memory."""
        return self.unit.endswith("/s")


@attrs.define
class Measurements:
    """Values by figure and round. A ratio compares only figures of the same round: noise then affects both equally."""

    values: dict[Figure, dict[int, float]] = attrs.field(factory=dict)
    details: list[dict[str, Any]] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    failures: list[str] = attrs.field(factory=list)

    def record(self, round_number: int, values: Mapping[Figure, float]) -> None:
        """Store the values of one round."""
        for figure, value in values.items():
            self.values.setdefault(figure, {})[round_number] = value

    def of(self, figure: Figure) -> list[float]:
        """Return the values of the figure, one for each round in which it was measured."""
        return list(self.values.get(figure, {}).values())

    def ratios(self, figure: Figure, reference: Figure) -> list[float]:
        """Return `figure` ÷ `reference` of each round in which both were measured."""
        below = self.values.get(reference, {})
        return [value / below[number] for number, value in self.values.get(figure, {}).items() if below.get(number)]
