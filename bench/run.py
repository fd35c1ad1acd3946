"""A run: its plan, its testbed, what it has measured so far, and its rounds."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import attrs

from bench.builds import Build
from bench.measurements import Figure, Measurements
from bench.plan import Plan
from bench.table import number as written
from bench.testbed import Testbed


@attrs.frozen
class Contestant:
    """Something that is measured once a round. `measure` returns the value of each of its figures.

    It is given the build to measure. What is not orderflow takes no notice of it.
    """

    name: str
    measure: Callable[[Build], Awaitable[Mapping[Figure, float]]]


@attrs.define
class Run:
    """What the parts share."""

    plan: Plan
    testbed: Testbed
    measurements: Measurements = attrs.field(factory=Measurements)
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

        One that fails is noted and has no further rounds; the others go on.
        """
        standing = list(contestants)
        for number in range(1, rounds + 1):
            for contestant in standing[:: 1 if number % 2 else -1]:
                try:
                    values = await contestant.measure(self.testbed.this)
                except Exception as error:
                    self.fail(contestant.name, error)
                    standing.remove(contestant)
                    continue
                self.measurements.record(number, values)
                told = ", ".join(f"{figure.title}: {written(value)} {figure.unit}" for figure, value in values.items())
                self.say(f"round {number}/{rounds}  {contestant.name}: {told}")

    def note(self, line: str) -> None:
        """Note, once, what a reader of the figures must know."""
        if line not in self.measurements.notes:
            self.measurements.notes.append(line)

    def fail(self, name: str, error: BaseException) -> None:
        """Note that a part, or one of its contestants, did not work."""
        failure = f"{name}: {type(error).__name__}: {error}"
        self.measurements.failures.append(failure)
        self.say(f"FAILED {failure}")
