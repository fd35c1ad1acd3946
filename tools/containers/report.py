"""What a run has seen: a line per step while it runs, and tables at the end."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
import click

from orderflow.exits import OrderflowError

T = TypeVar("T")


@attrs.frozen
class Row:
    """A step that has ended. `seen` is one line."""

    title: str
    seconds: float
    seen: str
    passed: bool

    def __str__(self) -> str:
        """Return the line of the table."""
        return f"{'ok' if self.passed else 'FAILED':6}  {self.seconds:6.1f} s  {self.title:19}  {self.seen}"


@attrs.frozen
class Report:
    """The steps of a run so far, and lines about the sizes of images and containers."""

    rows: list[Row] = attrs.field(factory=list)
    sizes: list[str] = attrs.field(factory=list)

    async def step(self, title: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run a step, print its line, and return its result. What it raises is passed on, after the line."""
        began = time.monotonic()

        def end(seen: str, *, passed: bool) -> None:
            row = Row(title, time.monotonic() - began, seen, passed)
            self.rows.append(row)
            click.echo(row)

        try:
            result = await work()
        except OrderflowError as error:
            end(str(error).splitlines()[0], passed=False)
            raise
        except BaseException:
            end("did not end", passed=False)
            raise
        end(str(result), passed=True)
        return result

    def __str__(self) -> str:
        """Return the tables and a last line."""
        failed = [row.title for row in self.rows if not row.passed]
        total = sum(row.seconds for row in self.rows)
        sizes = ["", *self.sizes] if self.sizes else []
        last = f"{total:.0f} s, {f'failed: {failed[0]}' if failed else 'all steps passed'}"
        return "\n".join(["", *map(str, self.rows), *sizes, "", last])
