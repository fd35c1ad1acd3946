"""Logs as the settings want them."""

from engine import logs
from orderflow.settings import Settings


def configure_logging(settings: Settings, *, deferred: bool = False, **context: str) -> None:
    """Do as `engine.logs.configure_logging` does, with `LOG_LEVEL` and `LOG_FORMAT`."""
    logs.configure_logging(settings.log_level, console=settings.log_format == "console", deferred=deferred, **context)
