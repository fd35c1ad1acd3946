"""Standard output whose loss is told from every other trouble: `orderflow lag | head -1`, or a full disk."""

import io
import sys
from typing import Any

from orderflow.exits import OrderflowError

NOBODY_READS = 141


class OutputClosed(OrderflowError):
    """Nobody reads standard output any more. The exit code is that of a program that SIGPIPE ended."""

    exit_code = NOBODY_READS


class OutputFailed(OrderflowError):
    """Standard output cannot be written. The message says why."""


class _Output(io.FileIO):
    """The file behind standard output. What is written after it was lost, at the program's end, is dropped."""

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
    """Let every write to `sys.stdout` from now on raise `OutputClosed` or `OutputFailed` instead of `OSError`."""
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
