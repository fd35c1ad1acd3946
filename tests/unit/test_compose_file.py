"""The compose file holds together: names, ports, volumes, variables and commands are those of the code."""

import base64
import re
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from orderflow.start.settings import parse_settings, variables
from tests.support.commands import resolve

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ADDRESSES = {"HTTP_ADDR", "POSTGRES_HOST", "POSTGRES_PORT", "KAFKA_BROKERS", "REDIS_ADDR"}
OWN = ("migrate", "topics", "engine", "http", "publisher")
DATA = {"kafka": "/var/lib/kafka/data", "postgres": "/var/lib/postgresql", "redis": "/data"}
INTERPOLATED = re.compile(r"(?<!\$)\$\{([A-Z_]+)(?::-([^}]*))?\}")


def seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)s", text)
    assert match, text
    return int(match[1])


def test_it_is_valid() -> None:
    """The Compose specification's own schema accepts it, offline."""
    tool = shutil.which("check-jsonschema", path=str(Path(sys.executable).parent)) or shutil.which("check-jsonschema")
    assert tool is not None, "check-jsonschema is missing: pip install 'orderflow[dev]'"
    command = [tool, "--builtin-schema", "vendor.compose-spec", str(COMPOSE_FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_has_the_promised_services() -> None:
    """The contract names them."""
    assert {"kafka", "postgres", "redis", "migrate", "engine", "http", "publisher"} <= set(SERVICES)
    assert SERVICES["tests"]["profiles"] == ["tests"]


def test_every_variable_is_documented() -> None:
    """What can be set stands in `.env.example`."""
    example = (ROOT / ".env.example").read_text()
    for name, _ in INTERPOLATED.findall(COMPOSE_FILE.read_text()):
        assert re.search(rf"^#?{name}=", example, re.MULTILINE), name


def test_every_default_is_the_settings_default() -> None:
    """A default that stands here too agrees with the one in the code."""
    for name, default in INTERPOLATED.findall(COMPOSE_FILE.read_text()):
        if default and name in variables():
            assert default == variables()[name], name


@pytest.mark.parametrize("name", OWN)
def test_every_setting_is_passed_on_but_the_addresses(name: str) -> None:
    """A setting in `.env` that is not would be ignored without a word; the stores are services of this file."""
    passed = SERVICES[name]["environment"]
    assert set(passed) == set(variables())
    for variable in set(passed) - ADDRESSES:
        assert [variable] == [found for found, _ in INTERPOLATED.findall(passed[variable])], variable
    assert not any("$" in passed[variable] for variable in ADDRESSES)


def test_the_cache_has_the_password_of_its_clients() -> None:
    """The server asks for it, and the health check knows it."""
    cache, password = SERVICES["redis"], SERVICES["engine"]["environment"]["REDIS_PASSWORD"]
    assert cache["command"][-2:] == ["--requirepass", password]
    assert set(cache["environment"].values()) == {password}


@pytest.mark.parametrize("name", OWN)
def test_the_environment_parses(name: str) -> None:
    """With nothing set on the host, each service of ours gets valid settings that point at its neighbours."""
    environment = {
        key: INTERPOLATED.sub(lambda match: match[2] or "", value)
        for key, value in SERVICES[name]["environment"].items()
    }
    settings = parse_settings(environment)
    assert settings.postgres_host == "postgres"
    assert settings.kafka_bootstrap == ["kafka:9092"]
    assert str(settings.redis_address) == "redis:6379"


@pytest.mark.parametrize("name", OWN)
def test_the_command_exists(name: str) -> None:
    """Each of our services runs a subcommand of orderflow."""
    resolve(SERVICES[name]["command"])


@pytest.mark.parametrize("name", ["engine", "http"])
def test_a_drain_is_not_cut_off(name: str) -> None:
    """Docker kills later than our own deadline."""
    assert seconds(SERVICES[name]["stop_grace_period"]) > parse_settings({}).shutdown_timeout_s


def test_only_the_stores_are_restarted_for_ever() -> None:
    """Exit code 3 says that a restart will not help: five are enough for what is ours, and none for what runs once."""
    policies = {name: service["restart"] for name, service in SERVICES.items()}
    assert policies == {
        **dict.fromkeys(DATA, "unless-stopped"),
        **dict.fromkeys(("engine", "http", "prometheus", "grafana"), "on-failure:5"),
        **dict.fromkeys(("migrate", "topics", "publisher", "tests"), "no"),
    }


@pytest.mark.parametrize("name", OWN)
def test_our_containers_have_few_rights(name: str) -> None:
    """No root, no capabilities, no writable image."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["init"] is True
    runtime = (ROOT / "Dockerfile").read_text().split(" AS runtime\n")[1].split("\nFROM ")[0]
    assert "\nUSER orderflow\n" in runtime


def test_the_engine_can_be_scaled() -> None:
    """`docker compose up --scale engine=3`: nothing that one container alone can have, and nothing kept in one."""
    engine = SERVICES["engine"]
    assert set(engine).isdisjoint(
        {"container_name", "deploy", "expose", "hostname", "network_mode", "pid", "ports", "scale", "uts", "volumes"}
    )
    assert engine["environment"]["WORKERS"] == "${WORKERS:-}"
    assert engine["command"] == ["orderflow", "engine"], "WORKERS has to count"
    assert not any(name for name, service in SERVICES.items() if "engine" in service.get("depends_on", {}))


@pytest.mark.parametrize(("name", "path"), DATA.items())
def test_state_is_in_a_named_volume(name: str, path: str) -> None:
    """`make down` and `make up` keep every order."""
    (volume,) = SERVICES[name]["volumes"]
    source, target = volume.split(":")
    assert source in COMPOSE["volumes"]
    assert target == path


@pytest.mark.parametrize("name", DATA)
def test_stores_say_when_they_are_well(name: str) -> None:
    """Others wait for it."""
    assert SERVICES[name]["healthcheck"]["test"]


def test_kafka_keeps_its_identity() -> None:
    """A cluster id made anew would not match the volume; a topic made by accident would hide a wrong name."""
    environment = SERVICES["kafka"]["environment"]
    assert len(base64.urlsafe_b64decode(environment["CLUSTER_ID"] + "==")) == 16
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert environment["KAFKA_LOG_DIRS"] == DATA["kafka"]


def test_kafka_tells_clients_of_this_machine_the_port_they_reach() -> None:
    """The advertised port is the published one."""
    environment = SERVICES["kafka"]["environment"]
    port = "${KAFKA_HOST_PORT:-59092}"
    assert f"HOST://127.0.0.1:{port}" in environment["KAFKA_ADVERTISED_LISTENERS"]
    assert SERVICES["kafka"]["ports"] == [f"127.0.0.1:{port}:59092"]


def test_ports_are_bound_to_this_machine() -> None:
    """Nobody else on the network reaches an unprotected store."""
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 6
    assert all(port.startswith("127.0.0.1:${") for port in published)


def test_every_dependency_exists_and_can_be_waited_for() -> None:
    """A condition needs a health check, or a service that ends."""
    for service in SERVICES.values():
        for name, dependency in service.get("depends_on", {}).items():
            if dependency["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name], name
            else:
                assert dependency["condition"] == "service_completed_successfully"
                assert SERVICES[name]["restart"] == "no", name


def test_every_stage_that_is_built_exists() -> None:
    """The compose file and the Dockerfile agree on the names of stages."""
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    targets = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert targets == {"runtime", "tests"}
    assert targets <= set(stages)


class _Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()


def test_no_proxy_setting_diverts_the_health_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker gives containers the proxy of its own settings: nobody may ask that one about 127.0.0.1."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    _, *command = SERVICES["http"]["healthcheck"]["test"]
    with HTTPServer(("127.0.0.1", 0), _Ready) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for path, healthy in (("readyz", True), ("elsewhere", False)):
            words = [word.replace("8080/readyz", f"{server.server_port}/{path}") for word in command]
            done = subprocess.run([sys.executable, *words[1:]], capture_output=True, check=False, timeout=30)
            assert (done.returncode == 0) is healthy, done.stderr.decode()
        server.shutdown()
