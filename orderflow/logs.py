"""Structured logs on standard error: JSON lines for machines, or a console format for people."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog
from msgspec import json

from orderflow.settings import Settings

_json = json.Encoder(enc_hook=str)
QUIET_S = 10.0
MAX_KINDS = 500
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
    root.handlers = [LibraryHandler()]
    root.setLevel(max(level, logging.WARNING))


class LibraryHandler(logging.Handler):
    """Hands the libraries' own log records to structlog, without their tracebacks: those may quote data.

    In an outage some of them say the same a hundred times a second: one of a kind in `QUIET_S` seconds is written, with
    the number of those that were left out before it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._quiet_until: dict[tuple[str, str], float] = {}
        self._left_out: Counter[tuple[str, str]] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as `library_message`."""
        kind, now_s = (record.name, str(record.msg)), self._clock()
        if now_s < self._quiet_until.get(kind, now_s):
            self._left_out[kind] += 1
            return
        if len(self._quiet_until) >= MAX_KINDS:
            self._quiet_until.clear()
            self._left_out.clear()
        self._quiet_until[kind] = now_s + QUIET_S
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        structlog.get_logger().log(
            record.levelno,
            "library_message",
            library=record.name,
            message=record.getMessage(),
            error=error,
            left_out=self._left_out.pop(kind, 0),
        )
