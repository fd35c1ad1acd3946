"""Starts tracing for commands. If it is configured but not possible, the command ends with exit code 3."""

import os
import socket
from importlib.metadata import version
from typing import TYPE_CHECKING

from engine.telemetry import tracing
from orderflow.exits import CannotStart

if TYPE_CHECKING:
    from engine.telemetry.spans import Tracing


def check_tracing() -> None:
    """Check that tracing is possible, if it is configured. Raises `CannotStart`."""
    try:
        tracing.check_tracing()
    except tracing.TracingRefused as error:
        raise CannotStart(str(error)) from None


def start_tracing(service: str, name: str, client_id: str | None = None) -> "Tracing | None":
    """Return the maker of spans, or None if tracing is off. `name` is this process's name. Raises `CannotStart`.

    `client_id` is the name by which Kafka's brokers know the client whose messages have spans.
    """
    instance = f"{name}@{socket.gethostname()}:{os.getpid()}"
    try:
        return tracing.start_tracing(service, instance, version("orderflow"), client_id)
    except tracing.TracingRefused as error:
        raise CannotStart(str(error)) from None
