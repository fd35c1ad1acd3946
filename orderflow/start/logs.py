"""Logs as the settings want them."""

import logging

import click

from engine.telemetry import logs
from orderflow.start.settings import Settings


def configure_logging(settings: Settings, *, deferred: bool = False, **context: str) -> None:
    """Do as `engine.telemetry.logs.configure_logging` does, with `LOG_LEVEL` and `LOG_FORMAT`."""
    logs.configure_logging(settings.log_level, console=settings.log_format == "console", deferred=deferred, **context)


class _ToldOnce(logging.Handler):
    """Tells the first trouble of a library in a line of the command's, and no more of it."""

    def __init__(self, trouble: str) -> None:
        super().__init__()
        self._trouble = trouble
        self._told = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, without its traceback."""
        if not self._told:
            self._told = True
            click.echo(f"orderflow: {self._trouble}: {record.getMessage()}", err=True)


def quieten_libraries(settings: Settings | None = None) -> None:
    """Keep what libraries say of each try off standard error: a command says in one line what matters.

    With the level debug in `settings` it stays.
    """
    if settings is None or settings.log_level != "debug":
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        spans = logging.getLogger("opentelemetry")
        spans.handlers, spans.propagate = [_ToldOnce("the collector of spans is in trouble")], False
