"""Whether spans go to a collector, as OpenTelemetry's own environment variables say. Off, they cost nothing.

Nothing of OpenTelemetry is imported before it is known to be wanted; `engine.telemetry.spans` is what does.
"""

import importlib
import os
import sys
from collections.abc import Mapping
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from engine.telemetry.spans import Tracing

DISABLED, EXPORTER = "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
PACKAGE = "opentelemetry"
FLUSH_S = 3.0
"""How long the end of a process may wait for its last spans."""
FIX = "install orderflow[otel], or unset it"


class TracingRefused(Exception):
    """Spans are wanted and cannot be had. The message says why and what mends it; it quotes no address, no header."""


def wanted_by(environment: Mapping[str, str]) -> str | None:
    """Return the name of the variable that asks for spans, None where none does.

    Raises `TracingRefused` for a value that cannot be met: it would be ignored in silence.
    """
    if _value(environment, DISABLED).lower() == "true":
        return None
    exporters = {name.strip() for name in _value(environment, EXPORTER).split(",") if name.strip()}
    endpoint = next((name for name in ENDPOINTS if _value(environment, name)), None)
    if exporters and not exporters <= {"otlp", "none"}:
        raise TracingRefused(f"{EXPORTER} must be otlp or none")
    wanted = EXPORTER if "otlp" in exporters else None if exporters else endpoint
    if wanted is None:
        return None
    protocol = next((name for name in PROTOCOLS if _value(environment, name)), None)
    if protocol is not None and _value(environment, protocol) != PROTOCOL:
        raise TracingRefused(f"{protocol} must be {PROTOCOL}")
    if endpoint is not None and not _is_url(_value(environment, endpoint)):
        raise TracingRefused(f"{endpoint} must be a URL such as http://127.0.0.1:4318")
    return wanted


def check_tracing(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether spans are wanted. Raises `TracingRefused` when they cannot be had."""
    variable = wanted_by(environment)
    if variable is None:
        return False
    try:
        found = find_spec("opentelemetry.sdk.trace") and find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        found = None
    if not found:
        raise TracingRefused(f"{variable} is set, but OpenTelemetry is not installed: {FIX}")
    return True


class _LeftOut(MetaPathFinder):
    """Finds no OpenTelemetry, whoever asks."""

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name == PACKAGE:
            raise ModuleNotFoundError(f"{name} is left out: no spans are wanted", name=name)


def leave_out(environment: Mapping[str, str] = os.environ) -> None:
    """Keep OpenTelemetry out of this process unless spans are wanted.

    redis imports it wherever it is installed, which costs every process some megabytes and a part of a second. To be
    called before redis is imported.
    """
    try:
        wanted = wanted_by(environment)
    except TracingRefused:
        return  # whoever starts tracing says so
    if wanted is None and PACKAGE not in sys.modules:
        sys.meta_path.insert(0, _LeftOut())


def start_tracing(service: str, instance: str, environment: Mapping[str, str] = os.environ) -> "Tracing | None":
    """Return what makes spans, or None where none are wanted. To be called in the process that makes them.

    `service` and `instance` are `service.name` and `service.instance.id` unless the environment names them. Raises
    `TracingRefused`.
    """
    if not check_tracing(environment):
        return None
    try:
        tracing: Tracing = importlib.import_module("engine.telemetry.spans").Tracing(service, instance)
    except (ImportError, RuntimeError, ValueError) as error:
        raise TracingRefused(f"OpenTelemetry does not start, check the variables OTEL_…: {error}") from None
    return tracing


def _value(environment: Mapping[str, str], name: str) -> str:
    """Return a variable's value; an empty one counts as unset, as the specification has it."""
    return environment.get(name, "").strip()


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
