"""A run: its plan, its testbed, its rounds, and the values measured so far."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import attrs

from bench.builds import Build
from bench.measurements import Figure, Measurements
from bench.plan import Plan
from bench.summary import typical
from bench.table import number as written
from bench.testbed import Testbed


@attrs.frozen
class Contestant:
    """A program or a configuration that is measured once per round. `measure` returns the values of its figures.

    The argument of `measure` is the build to measure. A program that is the same for all builds is measured with this
    build only: it returns nothing for the others.
    """

    name: str
    measure: Callable[[Build], Awaitable[Mapping[Figure, float]]]


def turns(builds: Sequence[Build], number: int) -> Sequence[Build]:
    """Return the order in which the builds are measured in a round. For two: base, this, this, base, or the reverse.

    So both are first equally often, and a steady drift cancels out within a round.
    """
    if len(builds) == 1:
        return builds
    first, second = builds if number % 2 else reversed(builds)
    return first, second, second, first


@attrs.define
class Run:
    """The state that all parts share. `base` are the values of the other build, `runs` all values of a comparison."""

    plan: Plan
    testbed: Testbed
    measurements: Measurements = attrs.field(factory=Measurements)
    base: Measurements = attrs.field(factory=Measurements)
    runs: list[dict[str, Any]] = attrs.field(factory=list)
    _began_s: float = attrs.field(factory=monotonic)

    @property
    def compares(self) -> bool:
        """Whether this run compares this build with another one."""
        return len(self.testbed.builds) > 1

    def detail(self, figure: Figure, build: Build, finished: Any) -> None:
        """Store the complete result of one program's run (an attrs instance) with its `figure`."""
        self.measurements.details.append({"figure": figure.key, "build": build.name, **attrs.asdict(finished)})

    def print_progress(self, line: str) -> None:
        """Print a progress line to standard error."""
        print(f"[{monotonic() - self._began_s:5.0f} s] {line}", file=sys.stderr, flush=True)

    async def run_rounds(self, contestants: Sequence[Contestant], rounds: int) -> None:
        """Measure all contestants in each round, in alternating order, so that a drift affects all of them equally.

        In a comparison each contestant is measured twice with both builds, in the order of `turns`. A contestant that
        fails is recorded and not measured again. The others are still measured.
        """
        standing = list(contestants)
        for number in range(1, rounds + 1):
            for contestant in standing[:: 1 if number % 2 else -1]:
                if not await self._measure(contestant, number, rounds):
                    standing.remove(contestant)

    async def _measure(self, contestant: Contestant, number: int, rounds: int) -> bool:
        """Measure one contestant in one round. Returns whether it succeeded."""
        values: dict[Build, dict[Figure, list[float]]] = {build: {} for build in self.testbed.builds}
        for build in turns(self.testbed.builds, number):
            name = f"{contestant.name}, {build.name}" if self.compares else contestant.name
            try:
                found = await contestant.measure(build)
            except Exception as error:
                self.fail(name, error)
                return False
            for figure, value in found.items():
                values[build].setdefault(figure, []).append(value)
            line = ", ".join(f"{figure.title}: {written(value)} {figure.unit}" for figure, value in found.items())
            if found:
                self.print_progress(f"round {number}/{rounds}  {name}: {line}")
        for build, by_figure in values.items():
            measurements = self.measurements if build == self.testbed.this else self.base
            measurements.record(number, {figure: typical(several) for figure, several in by_figure.items()})
            if self.compares:
                by_key = {figure.key: several for figure, several in by_figure.items()}
                self.runs.append({"round": number, "build": build.name, "figures": by_key})
        return True

    def note(self, line: str) -> None:
        """Add a note for the reader of the figures. The same note is added only once."""
        if line not in self.measurements.notes:
            self.measurements.notes.append(line)

    def fail(self, name: str, error: BaseException) -> None:
        """Record that a part, or one of its contestants, has failed."""
        failure = f"{name}: {type(error).__name__}: {error}"
        self.measurements.failures.append(failure)
        self.print_progress(f"FAILED {failure}")
