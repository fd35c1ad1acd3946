"""Standard output with its own exceptions for a closed pipe (`orderflow lag | head -1`) and for a full disk."""

import io
import sys
from typing import Any

from orderflow.exits import OrderflowError

BROKEN_PIPE = 141


class OutputClosed(OrderflowError):
    """The reader has closed standard output. The exit code is that of a program that SIGPIPE has ended."""

    exit_code = BROKEN_PIPE


class OutputFailed(OrderflowError):
    """Standard output cannot be written. The message says why."""


class _Output(io.FileIO):
    """The file behind standard output. After an error it drops further writes, such as the flush at exit."""

    _lost = False

    def write(self, data: Any, /) -> int:
        """Write to the file. Raises `OutputClosed` or `OutputFailed`."""
        if self._lost:
            return len(data)
        try:
            return super().write(data)
        except BrokenPipeError:
            self._lost = True
            raise OutputClosed from None
        except OSError as error:
            self._lost = True
            raise OutputFailed(f"standard output cannot be written: {error.strerror}") from None


def guard_standard_output() -> None:
    """Make writes to `sys.stdout` raise `OutputClosed` or `OutputFailed` instead of `OSError`."""
    before = sys.stdout
    if before is None:  # it was closed before the program began
        return
    before.flush()
    raw = _Output(before.fileno(), "wb", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding,
        errors=before.errors,
        line_buffering=before.isatty(),
    )
