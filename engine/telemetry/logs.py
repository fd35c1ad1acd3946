"""Structured logs on standard error: JSON lines for machines, or a console format for people."""

import asyncio
import atexit
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, BinaryIO

import attrs
import structlog
from msgspec import json

from engine.actors.identity import host_name, supervisor_id
from engine.telemetry.printable import printable

encode = json.Encoder(enc_hook=str).encode
QUIET_S = 10.0
MAX_KINDS = 500
EXPECTED_AT_START = frozenset({"GroupCoordinatorNotAvailableError"})
"""Errors that are normal for a while: a broker that has just started has no group coordinator yet."""
_OF_LINES = ("exception", "stack")
_FIRST = ("time", "level", "event", "component", "worker", "host", "supervisor")


def _console() -> structlog.dev.ConsoleRenderer:
    # If rich is installed, the default formatter shows local variables, which may contain personal data.
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)


def _escaped(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Escape what would move the cursor: a uid, for example, comes from a message. Tracebacks have several lines."""
    return {
        name: printable(value) if isinstance(value, str) and name not in _OF_LINES else value
        for name, value in event.items()
    }


def _render(_logger: Any, _method: str, event: dict[str, Any]) -> bytes:
    return encode({**{name: event[name] for name in _FIRST if name in event}, **event})


class DeferredLines:
    """A logger that collects the lines of one iteration of the event loop and writes them with one call.

    Without a running event loop, and in other threads, a line is written at once. A process that is killed loses the
    lines of its current iteration.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: list[bytes] = []
        atexit.register(self.flush)

    def msg(self, line: bytes) -> None:
        """Write a line (without a newline) in the current iteration of the event loop."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            if threading.current_thread() is threading.main_thread():
                self.flush()
            # The waiting lines belong to the main thread: another thread must not write them.
            self._file.write(line + b"\n")
            self._file.flush()
            return
        self._waiting.append(line + b"\n")
        if len(self._waiting) == 1:
            loop.call_soon(self.flush)

    debug = info = warning = error = critical = msg

    def flush(self) -> None:
        """Write the waiting lines."""
        lines, self._waiting = self._waiting, []
        if not lines:
            return
        self._file.write(b"".join(lines))
        self._file.flush()


@attrs.frozen(eq=False)
class JsonLog:
    """The log of deferred JSON lines: structlog's logger factory. `context` is in every line."""

    lines: DeferredLines
    level: int
    _context: dict[str, str]

    def __call__(self, *_: object) -> DeferredLines:
        """Return what structlog writes rendered lines to."""
        return self.lines

    def constant_part(self, level: str, event: str) -> bytes:
        """Return what every line of an event has behind its time, as members of a JSON object."""
        return _render(None, level, {"level": level, "event": event, **self._context})[1:-1]


def json_log() -> JsonLog | None:
    """Return the log that is in use, if it is one of deferred JSON lines. Where a test captures lines, it is not."""
    current = structlog.get_config()
    log = current["logger_factory"]
    return log if isinstance(log, JsonLog) and current["processors"][-1] is _render else None


def configure_logging(
    level_name: str = "info", *, console: bool = False, deferred: bool = False, **context: str
) -> None:
    """Send structlog's lines, and the warnings of libraries, to standard error.

    Every line contains the host, the supervisor if there is one, and `context`.

    `level_name` is debug, info, warning or error. `console`: lines for people instead of JSON. `deferred`: JSON lines
    are written by `DeferredLines`.
    """
    level = logging.getLevelNamesMapping()[level_name.upper()]
    context["host"] = host_name()
    if own := supervisor_id():
        context["supervisor"] = own
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    if console:
        shared += [_escaped, _console()]
        factory: Any = structlog.PrintLoggerFactory(sys.stderr)
    else:
        shared += [
            structlog.processors.format_exc_info,
            _render,
        ]
        if deferred:
            factory = JsonLog(DeferredLines(sys.stderr.buffer), level, context)
        else:
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
    """Passes the log records of libraries to structlog, without tracebacks, because these may quote data.

    In an outage a library may log the same message a hundred times a second. Only one record of a kind is written in
    `QUIET_S` seconds, with the number of records that were left out before it. Errors in `EXPECTED_AT_START` are first
    logged at level info, and at their own level if they still occur after `QUIET_S` seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._quiet_until: dict[tuple[str, str], float] = {}
        self._left_out: Counter[tuple[str, str]] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as `library_message`."""
        expected, now_s = _is_expected(record), self._clock()
        kind = (record.name, f"{record.msg}{' (expected)' if expected else ''}")
        quiet_until_s = self._quiet_until.get(kind)
        if quiet_until_s is not None and now_s < quiet_until_s:
            self._left_out[kind] += 1
            return
        lasts = quiet_until_s is not None and now_s < quiet_until_s + QUIET_S
        if len(self._quiet_until) >= MAX_KINDS:
            self._quiet_until.clear()
            self._left_out.clear()
        self._quiet_until[kind] = now_s + QUIET_S
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        structlog.get_logger().log(
            record.levelno if lasts or not expected else logging.INFO,
            "library_message",
            library=record.name,
            message=record.getMessage(),
            error=error,
            left_out=self._left_out.pop(kind, 0),
        )


def _is_expected(record: logging.LogRecord) -> bool:
    arguments = record.args if isinstance(record.args, tuple) else ()
    return any(type(argument).__name__ in EXPECTED_AT_START for argument in arguments)
