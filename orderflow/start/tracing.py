"""Tracing as the command line starts it: what cannot be had ends the start with exit code 3."""

import os
import socket
from typing import TYPE_CHECKING

from engine.telemetry import tracing
from orderflow.exits import CannotStart

if TYPE_CHECKING:
    from engine.telemetry.spans import Tracing


def check_tracing() -> None:
    """Find out whether spans, if they are wanted, can be had. Raises `CannotStart`."""
    try:
        tracing.check_tracing()
    except tracing.TracingRefused as error:
        raise CannotStart(str(error)) from None


def start_tracing(service: str, name: str) -> "Tracing | None":
    """Return what makes spans, or None where none are wanted. `name` is this process's. Raises `CannotStart`."""
    try:
        return tracing.start_tracing(service, f"{name}@{socket.gethostname()}:{os.getpid()}")
    except tracing.TracingRefused as error:
        raise CannotStart(str(error)) from None
