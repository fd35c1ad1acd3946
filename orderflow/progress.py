"""Progress output on standard error: lines, and bars on a terminal."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import click
import structlog

from orderflow import events

SLOW_S = 2.0
"""From when on a person who waits is told what for."""
REPEATED_S = 10.0


def say(line: str) -> None:
    """Print a line on standard error."""
    click.echo(line, err=True)


@asynccontextmanager
async def told_if_slow(
    what: str | Callable[[], str],
    detail: Callable[[], Awaitable[str | None]] | None = None,
    *,
    tell: Callable[[str], None] = say,
) -> AsyncIterator[None]:
    """While the block takes longer than `SLOW_S`, say `Still WHAT, N s so far`, and again every `REPEATED_S`.

    `detail` is asked each time for what is known about the delay. An exception of it is raised nowhere.
    """

    async def report() -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        await asyncio.sleep(SLOW_S)
        while True:
            more = None if detail is None else await detail()
            doing = what if isinstance(what, str) else what()
            tell(f"Still {doing}, {clock() - began:.0f} s so far{f': {more}' if more else ''}")
            await asyncio.sleep(REPEATED_S)

    reporting = asyncio.create_task(report(), name="progress")
    try:
        yield
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)


@contextmanager
def progress_bar(label: str, total: int | None, *, shown: bool = True) -> Iterator[Callable[[int], object]]:
    """Show a progress bar, and provide a function that advances it by the given number of `total`.

    There is no bar if standard error is not a terminal, or with `shown=False`.
    """
    if not (shown and total and sys.stderr.isatty()):
        yield _ignore
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update


def _ignore(_steps: int) -> None:
    return


def report_waiting(service: str, address: str, longest_s: float) -> None:
    """Report that a service does not answer yet: in the log if logging is configured, else as a line."""
    if structlog.is_configured():
        log = structlog.get_logger()
        log.warning(events.WAITING_FOR_SERVICE, service=service, address=address, longest_s=longest_s)
    else:
        say(f"Waiting for {service} on {address}, {longest_s:g} s at most")


def report_newer_schema(message: str) -> None:
    """Report that the database has migrations that this program does not know: in the log, or as a line."""
    if structlog.is_configured():
        structlog.get_logger().warning(events.SCHEMA_IS_NEWER, detail=message)
    else:
        say(f"Warning: {message}")
