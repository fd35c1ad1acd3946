"""Spans are off unless OpenTelemetry's variables ask for them; what they cannot have is said in one line."""

import os
import subprocess
import sys
from importlib.machinery import PathFinder

import pytest
from click.testing import CliRunner

from engine.telemetry import tracing
from engine.telemetry.tracing import TracingRefused, check_tracing, start_tracing, wanted_by
from orderflow.commands.engine import engine
from orderflow.exits import CannotStart

URL = "http://127.0.0.1:4318"
ENDPOINT, TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({}, None),
        ({ENDPOINT: URL}, ENDPOINT),
        ({TRACES_ENDPOINT: f"{URL}/v1/traces"}, TRACES_ENDPOINT),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "OTEL_TRACES_EXPORTER"),
        ({ENDPOINT: ""}, None),
        ({ENDPOINT: URL, "OTEL_TRACES_EXPORTER": "none"}, None),
        ({ENDPOINT: URL, "OTEL_SDK_DISABLED": "TRUE"}, None),
        ({ENDPOINT: URL, "OTEL_SDK_DISABLED": "false", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, ENDPOINT),
        ({"OTEL_SERVICE_NAME": "shop"}, None),
    ],
)
def test_the_standard_variables_decide(environment: dict[str, str], variable: str | None) -> None:
    """An empty value counts as none."""
    assert wanted_by(environment) == variable


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER must be otlp or none"),
        ({ENDPOINT: "http://u:p@h:4318"}, f"{ENDPOINT} must be a URL without a login: set OTEL_EXPORTER_OTLP_HEADERS"),
        ({ENDPOINT: URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf"),
        ({ENDPOINT: "name:secret@host"}, f"{ENDPOINT} must be a URL such as {URL}"),
        ({ENDPOINT: "http://[secret"}, f"{ENDPOINT} must be a URL such as {URL}"),
    ],
)
def test_what_cannot_be_met_is_refused_without_its_value(environment: dict[str, str], told: str) -> None:
    """It would be ignored in silence, and it may hold a password."""
    with pytest.raises(TracingRefused) as refused:
        check_tracing(environment)
    assert str(refused.value) == told


def test_missing_packages_end_the_start_with_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3, before anything is connected to."""
    monkeypatch.setattr(tracing, "find_spec", _only_what_is_not_of_opentelemetry)
    monkeypatch.setenv(ENDPOINT, URL)
    told = f"{ENDPOINT} is set, but OpenTelemetry is not installed: install orderflow[otel], or unset it"
    result = CliRunner().invoke(engine, ["--workers", "1"])
    assert isinstance(result.exception, CannotStart)
    assert (str(result.exception), result.exception.exit_code) == (told, 3)


def _only_what_is_not_of_opentelemetry(name: str) -> object:
    if name.startswith("opentelemetry"):
        raise ModuleNotFoundError(name)
    return PathFinder.find_spec(name)


def test_what_the_sdk_itself_refuses_ends_the_start_too() -> None:
    """A queue without room, say; in a process of its own, as the SDK reads the real environment."""
    program = "from orderflow.start.tracing import start_tracing; start_tracing('a-service', 'a-name')"
    environment = {**os.environ, ENDPOINT: URL, "OTEL_BSP_MAX_QUEUE_SIZE": "0"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "CannotStart: OpenTelemetry cannot start; check the variables OTEL_…: max_queue_size" in done.stderr


def test_nothing_is_started_where_nothing_is_wanted() -> None:
    """Nor is the module imported that imports the SDK."""
    assert start_tracing("a-service", "an-instance", environment={}) is None
    assert "engine.telemetry.spans" not in sys.modules
