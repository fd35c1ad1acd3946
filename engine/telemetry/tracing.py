"""Decides from OpenTelemetry's environment variables whether spans are sent to a collector.

Without spans OpenTelemetry is not imported and costs nothing. Only `engine.telemetry.spans` imports it.
"""

import importlib
import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from engine.telemetry.spans import Tracing

DISABLED, EXPORTER = "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
FLUSH_S = 3.0
"""How many seconds a process that ends may wait until its last spans are sent."""
FIX = "install orderflow[otel], or unset it"


class TracingRefused(Exception):
    """Spans are enabled but cannot be sent. The message has the cause and the fix, but no address and no header."""


def wanted_by(environment: Mapping[str, str]) -> str | None:
    """Return the name of the variable that enables spans, or None if none does.

    Raises `TracingRefused` for a value that is not supported, because otherwise it would be ignored silently.
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
    if endpoint is not None and "@" in urlsplit(_value(environment, endpoint)).netloc:
        raise TracingRefused(f"{endpoint} must be a URL without a login: set OTEL_EXPORTER_OTLP_HEADERS")
    return wanted


def check_tracing(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether spans are enabled. Raises `TracingRefused` if they cannot be sent."""
    variable = wanted_by(environment)
    if variable is None:
        return False
    try:
        installed = find_spec("opentelemetry.sdk.trace") and find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        installed = None
    if not installed:
        raise TracingRefused(f"{variable} is set, but OpenTelemetry is not installed: {FIX}")
    return True


def start_tracing(
    service: str,
    instance: str,
    version: str | None = None,
    client_id: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> "Tracing | None":
    """Return an object that creates spans, or None if spans are not enabled.

    Call this in the process that creates the spans.

    `service`, `instance` and `version` are `service.name`, `service.instance.id` and `service.version`, unless the
    environment sets these; `client_id` is `messaging.client.id`. None: there is none. Raises `TracingRefused`.
    """
    if not check_tracing(environment):
        return None
    try:
        tracing: Tracing = importlib.import_module("engine.telemetry.spans").Tracing(
            service, instance, version, client_id
        )
    except (ImportError, RuntimeError, ValueError) as error:
        raise TracingRefused(f"OpenTelemetry cannot start; check the variables OTEL_…: {error}") from None
    return tracing


def _value(environment: Mapping[str, str], name: str) -> str:
    """Return a variable's value. By the specification an empty value counts as unset."""
    return environment.get(name, "").strip()


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
