"""Configures logging from the settings."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from engine.telemetry import logs
from orderflow.start.settings import Settings


def configure_logging(settings: Settings, *, deferred: bool = False, **context: str) -> None:
    """Call `engine.telemetry.logs.configure_logging` with `LOG_LEVEL` and `LOG_FORMAT`."""
    logs.configure_logging(settings.log_level, console=settings.log_format == "console", deferred=deferred, **context)


class _FirstRecordOnly(logging.Handler):
    """Prints the first record of a library as one line, and drops all further records."""

    def __init__(self, problem: str) -> None:
        super().__init__()
        self._problem = problem
        self._reported = False

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record if it is the first one, without its traceback."""
        if not self._reported:
            self._reported = True
            click.echo(f"orderflow: {self._problem}: {record.getMessage()}", err=True)


def quieten_libraries(settings: Settings | None = None) -> None:
    """Hide the libraries' log records of each attempt: a command itself reports the result in one line.

    With the level debug in `settings` they are shown.
    """
    if settings is None or settings.log_level != "debug":
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        spans = logging.getLogger("opentelemetry")
        spans.handlers, spans.propagate = [_FirstRecordOnly("sending spans to the collector failed")], False


@contextmanager
def library_silenced(name: str) -> Iterator[None]:
    """Drop the log records of one logger of a library: the caller reports what it finds."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
