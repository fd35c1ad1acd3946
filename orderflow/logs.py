"""Structured logs on standard error: JSON lines for machines, or a console format for people."""

import logging
import sys
from typing import Any

import structlog
from msgspec import json

from orderflow.settings import Settings

_json = json.Encoder(enc_hook=str)
_FIRST = ("time", "level", "event", "component", "worker")


def _console() -> structlog.dev.ConsoleRenderer:
    # The default formatter shows the frames' local variables where rich is installed: personal data among them.
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)


def _render(_logger: Any, _method: str, event: dict[str, Any]) -> bytes:
    return _json.encode({**{name: event[name] for name in _FIRST if name in event}, **event})


def configure_logging(settings: Settings, **context: str) -> None:
    """Send structlog, and the libraries' own warnings, to standard error. `context` is on every line."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    console = settings.log_format == "console"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    if console:
        shared += [_console()]
        factory: Any = structlog.PrintLoggerFactory(sys.stderr)
    else:
        shared += [
            structlog.processors.format_exc_info,
            _render,
        ]
        factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**context)
    root = logging.getLogger()
    root.handlers = [_LibraryHandler()]
    root.setLevel(max(level, logging.WARNING))


class _LibraryHandler(logging.Handler):
    """Hands the libraries' own log records to structlog, without their tracebacks: those may quote data."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as `library_message`."""
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        structlog.get_logger().log(
            record.levelno, "library_message", library=record.name, message=record.getMessage(), error=error
        )
