"""A run: its plan, its testbed, what it has measured so far, and its rounds."""

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
    """Something that is measured once a round. `measure` returns the value of each of its figures.

    It is given the build to measure. What is not orderflow takes no notice of it.
    """

    name: str
    measure: Callable[[Build], Awaitable[Mapping[Figure, float]]]


def turns(builds: Sequence[Build], number: int) -> Sequence[Build]:
    """Return the order in which builds are measured in a round: of two, base, this, this, base, or the other way about.

    So neither is first more often than the other, and what grows or shrinks steadily cancels out in a round.
    """
    if len(builds) == 1:
        return builds
    first, second = builds if number % 2 else reversed(builds)
    return first, second, second, first


@attrs.define
class Run:
    """What the parts share. `base` is what another build has shown, `runs` are all values of a comparison."""

    plan: Plan
    testbed: Testbed
    measurements: Measurements = attrs.field(factory=Measurements)
    base: Measurements = attrs.field(factory=Measurements)
    runs: list[dict[str, Any]] = attrs.field(factory=list)
    _began_s: float = attrs.field(factory=monotonic)

    @property
    def compares(self) -> bool:
        """Whether this build is held against another one, and against nothing else."""
        return len(self.testbed.builds) > 1

    def detail(self, figure: Figure, build: Build, finished: Any) -> None:
        """Keep all that one program's run has shown, an attrs instance, beside its `figure`."""
        self.measurements.details.append({"figure": figure.key, "build": build.name, **attrs.asdict(finished)})

    def say(self, line: str) -> None:
        """Write a line of progress to standard error."""
        print(f"[{monotonic() - self._began_s:5.0f} s] {line}", file=sys.stderr, flush=True)

    async def hold_rounds(self, contestants: Sequence[Contestant], rounds: int) -> None:
        """Measure all contestants in every round, forwards and backwards in turn, so that a drift hits all alike.

        Where there is another build, each contestant is measured with both, twice, in the order of `turns`. One that
        fails is noted and has no further rounds; the others go on.
        """
        standing = list(contestants)
        for number in range(1, rounds + 1):
            for contestant in standing[:: 1 if number % 2 else -1]:
                if not await self._measure(contestant, number, rounds):
                    standing.remove(contestant)

    async def _measure(self, contestant: Contestant, number: int, rounds: int) -> bool:
        """Measure one contestant in one round; return whether that went well."""
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
            told = ", ".join(f"{figure.title}: {written(value)} {figure.unit}" for figure, value in found.items())
            self.say(f"round {number}/{rounds}  {name}: {told}")
        for build, by_figure in values.items():
            measurements = self.measurements if build == self.testbed.this else self.base
            measurements.record(number, {figure: typical(several) for figure, several in by_figure.items()})
            if self.compares:
                by_key = {figure.key: several for figure, several in by_figure.items()}
                self.runs.append({"round": number, "build": build.name, "figures": by_key})
        return True

    def note(self, line: str) -> None:
        """Note, once, what a reader of the figures must know."""
        if line not in self.measurements.notes:
            self.measurements.notes.append(line)

    def fail(self, name: str, error: BaseException) -> None:
        """Note that a part, or one of its contestants, did not work."""
        failure = f"{name}: {type(error).__name__}: {error}"
        self.measurements.failures.append(failure)
        self.say(f"FAILED {failure}")
