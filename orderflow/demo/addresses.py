"""The addresses of the demo's services and HTTP server: the usual ports, or free ones if those are taken."""

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from orderflow.services import ServiceSet, free_ports, port_in_use
from orderflow.services.ports import LOOPBACK
from orderflow.start.address import Address
from orderflow.start.settings import Settings, load_settings, parse_settings, variables

_PLAIN = {"POSTGRES_SSL_MODE": "disable", "REDIS_TLS": "false", "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}
_ADDRESSES = {*_PLAIN, "POSTGRES_HOST", "POSTGRES_PORT", "REDIS_ADDR", "KAFKA_BROKERS", "HTTP_ADDR"}
_LOCAL = {LOOPBACK, "localhost", "::1"}
Environment = dict[str, str]


def usual_environment(directory: Path, say: Callable[[str], None]) -> Environment:
    """Return the user's environment with all addresses on this machine, on free ports.

    Services of `directory` that run already keep their ports. Raises `SettingError` for a wrong setting.
    """
    settings = load_settings()
    wanted = _wanted_ports(settings)
    running = _running_ports(directory)
    chosen: dict[str, int] = {}
    for name, (title, port) in wanted.items():
        chosen[name] = running.get(name) or _free(title, port, LOOPBACK, say)
    http = settings.http_address
    http_port = _free("the HTTP server", http.port, http.host, say)
    return {**os.environ, **_services(chosen), "HTTP_ADDR": str(Address(http.host, http_port))}


def separate_environment() -> Environment:
    """Return the environment without the user's settings, and with free ports: it does not touch running services."""
    postgresql, valkey, kafka, http = free_ports(4)
    kept = {name: value for name, value in os.environ.items() if name not in variables()}
    ports = {"postgresql": postgresql, "valkey": valkey, "kafka": kafka}
    return {**kept, **_services(ports), "HTTP_ADDR": f"{LOOPBACK}:{http}"}


def exports(environment: Mapping[str, str]) -> str | None:
    """Return the shell command that sets the demo's addresses in another terminal; None if none has to be set."""
    other_terminal, demo = load_settings(), parse_settings(environment)
    changed = [
        field.metadata["variable"]
        for field in attrs.fields(Settings)
        if field.metadata["variable"] in _ADDRESSES and getattr(other_terminal, field.name) != getattr(demo, field.name)
    ]
    return f"export {shlex.join(f'{name}={environment[name]}' for name in changed)}" if changed else None


def url(environment: Mapping[str, str]) -> str:
    """Return the HTTP server's URL for a browser on this machine, without a trailing slash."""
    address = parse_settings(environment).http_address
    host = LOOPBACK if address.host in {"", "0.0.0.0"} else address.host
    return f"http://{Address(host, address.port)}"


def _services(ports: Mapping[str, int]) -> Environment:
    return {
        **_PLAIN,
        "POSTGRES_HOST": LOOPBACK,
        "POSTGRES_PORT": str(ports["postgresql"]),
        "REDIS_ADDR": f"{LOOPBACK}:{ports['valkey']}",
        "KAFKA_BROKERS": f"{LOOPBACK}:{ports['kafka']}",
    }


def _wanted_ports(settings: Settings) -> dict[str, tuple[str, int]]:
    """Return the ports in the settings; the default port for a service that is on another machine."""
    usual = parse_settings({})
    postgres = settings if settings.postgres_host in _LOCAL else usual
    redis = settings if settings.redis_address.host in _LOCAL else usual
    kafka = settings if settings.kafka_brokers[0].host in _LOCAL else usual
    return {
        "postgresql": ("PostgreSQL", postgres.postgres_port),
        "valkey": ("Valkey", redis.redis_address.port),
        "kafka": ("Kafka", kafka.kafka_brokers[0].port),
    }


def _running_ports(directory: Path) -> dict[str, int]:
    rows = ServiceSet(directory, parse_settings({})).status()
    return {row.service: int(row.address.rpartition(":")[2]) for row in rows if row.running}


def _free(title: str, port: int, host: str, say: Callable[[str], None]) -> int:
    if not port_in_use(port, host):
        return port
    other = free_ports(1)[0]
    say(f"Port {port} for {title} is taken: using {other} instead")
    return other
