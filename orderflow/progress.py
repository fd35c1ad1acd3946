"""What a person sees while a command waits or works: on standard error, and bars only where that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
import structlog

from orderflow import events


def say(line: str) -> None:
    """Tell a line on standard error."""
    click.echo(line, err=True)


@contextmanager
def progress_bar(label: str, total: int | None, *, shown: bool = True) -> Iterator[Callable[[int], object]]:
    """Show a bar, and lend what it is to be told: how many more of `total` are done.

    There is no bar where nobody watches, nor unless `shown`.
    """
    if not (shown and total and sys.stderr.isatty()):
        yield _unseen
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update


def _unseen(_steps: int) -> None:
    return


def tell_waiting(service: str, address: str, longest_s: float) -> None:
    """Tell that a service does not answer yet: in the log where the program writes one, else as a line."""
    if structlog.is_configured():
        log = structlog.get_logger()
        log.warning(events.WAITING_FOR_SERVICE, service=service, address=address, longest_s=longest_s)
    else:
        say(f"Waiting for {service} on {address}, {longest_s:g} s at most")
