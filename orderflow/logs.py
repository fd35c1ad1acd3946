"""Logs as the settings want them."""

import logging

from engine import logs
from orderflow.settings import Settings


def configure_logging(settings: Settings, *, deferred: bool = False, **context: str) -> None:
    """Do as `engine.logs.configure_logging` does, with `LOG_LEVEL` and `LOG_FORMAT`."""
    logs.configure_logging(settings.log_level, console=settings.log_format == "console", deferred=deferred, **context)


def quieten_libraries(settings: Settings | None = None) -> None:
    """Keep what aiokafka says of each try off standard error: a command says in one line what matters.

    With the level debug in `settings` it stays.
    """
    if settings is None or settings.log_level != "debug":
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
