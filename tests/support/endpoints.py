"""The services that this test run uses: from TEST_… variables, in containers, or embedded."""

import os
import warnings
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

from orderflow.services import ServiceSet, free_ports
from orderflow.services.kafka import ProxyListener
from orderflow.start.settings import parse_settings
from tests.support.containers import engine_answers, run_kafka, run_postgresql, run_redis

_VARIABLES = {"postgres": "TEST_POSTGRES_URL", "redis": "TEST_REDIS_URL", "kafka": "TEST_KAFKA_BROKERS"}


@attrs.frozen
class Endpoints:
    """The addresses of the services, as settings. `embedded` are the services that this run has started itself."""

    environment: dict[str, str]
    origins: dict[str, str]
    embedded: ServiceSet | None = None


def postgres_environment(url: str) -> dict[str, str]:
    """Translate `postgres://user:password@host:port/database?sslmode=…` into settings."""
    parts = urlsplit(url)
    values = {
        "POSTGRES_HOST": parts.hostname or "127.0.0.1",
        "POSTGRES_PORT": str(parts.port or 5432),
        "POSTGRES_USER": unquote(parts.username or "postgres"),
        "POSTGRES_PASSWORD": unquote(parts.password or ""),
        "POSTGRES_DATABASE": unquote(parts.path.lstrip("/")) or "postgres",
        "POSTGRES_SSL_MODE": parse_qs(parts.query).get("sslmode", ["disable"])[0],
    }
    return {name: value for name, value in values.items() if value}


def redis_environment(url: str) -> dict[str, str]:
    """Translate `redis://user:password@host:port/0` (or `rediss://`) into settings."""
    parts = urlsplit(url)
    return {
        "REDIS_ADDR": f"{parts.hostname or '127.0.0.1'}:{parts.port or 6379}",
        "REDIS_USERNAME": unquote(parts.username or ""),
        "REDIS_PASSWORD": unquote(parts.password or ""),
        "REDIS_TLS": "true" if parts.scheme == "rediss" else "false",
    }


@asynccontextmanager
async def endpoints(directory: Path) -> AsyncIterator[Endpoints]:
    """Provide the three services, and stop those that were started here. Embedded ones store data in `directory`."""
    given = {service: os.environ[name] for service, name in _VARIABLES.items() if os.environ.get(name)}
    origins = dict.fromkeys(given, "given")
    with ExitStack() as containers:
        missing = [service for service in _VARIABLES if service not in given]
        if missing and engine_answers():
            started = _in_containers(missing, containers)
            given |= started
            origins |= dict.fromkeys(started, "container")
        environment: dict[str, str] = {}
        if "postgres" in given:
            environment |= postgres_environment(given["postgres"])
        if "redis" in given:
            environment |= redis_environment(given["redis"])
        if "kafka" in given:
            environment["KAFKA_BROKERS"] = given["kafka"]
        embedded = [service for service in _VARIABLES if service not in given]
        if not embedded:
            yield Endpoints(environment, origins)
            return
        origins |= dict.fromkeys(embedded, "embedded")
        async with _embedded(directory, embedded) as (services, addresses):
            yield Endpoints(addresses | environment, origins, services if len(embedded) == len(_VARIABLES) else None)


def _in_containers(missing: list[str], containers: ExitStack) -> dict[str, str]:
    run = {"postgres": run_postgresql, "redis": run_redis, "kafka": run_kafka}
    with ExitStack() as attempt:
        try:
            started = {service: attempt.enter_context(run[service]()) for service in missing}
        except Exception as error:
            warnings.warn(f"containers do not start ({error}): using the embedded services", stacklevel=2)
            return {}
        containers.push(attempt.pop_all())
    return started


@asynccontextmanager
async def _embedded(directory: Path, names: list[str]) -> AsyncIterator[tuple[ServiceSet, dict[str, str]]]:
    services, environment = service_set(directory)
    wanted = {"postgres": services.postgresql, "redis": services.valkey, "kafka": services.kafka}
    try:
        if len(names) == len(wanted):
            await services.up()
        else:
            for name in names:
                await wanted[name].start()
        yield services, environment
    finally:
        await services.down()


def service_set(directory: Path) -> tuple[ServiceSet, dict[str, str]]:
    """Return embedded services on free ports, which are not started yet, and their settings.

    Kafka has a proxy listener: a proxy that listens on its advertised port sees all connections of its clients.
    """
    postgres, redis, kafka, proxy_listener, advertised = free_ports(5)
    environment = {
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(postgres),
        "POSTGRES_USER": "tester",
        "POSTGRES_PASSWORD": "a test's own password",
        "POSTGRES_DATABASE": "tests",
        "REDIS_ADDR": f"127.0.0.1:{redis}",
        "KAFKA_BROKERS": f"127.0.0.1:{kafka}",
    }
    services = ServiceSet(directory, parse_settings(environment))
    services.kafka.proxy_listener = ProxyListener(proxy_listener, advertised)
    return services, environment
