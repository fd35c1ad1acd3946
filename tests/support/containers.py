"""Runs the services in containers, if a Docker engine is available."""

from collections.abc import Iterator
from contextlib import contextmanager

import docker
from docker.errors import DockerException
from testcontainers.community.kafka import KafkaContainer
from testcontainers.community.postgres import PostgresContainer
from testcontainers.community.redis import RedisContainer

_ANSWER_TIMEOUT_S = 2


def engine_answers() -> bool:
    """Return whether a Docker engine answers on this machine."""
    try:
        client = docker.from_env(timeout=_ANSWER_TIMEOUT_S)
        client.ping()
        client.close()
    except (DockerException, OSError):
        return False
    return True


@contextmanager
def run_postgresql() -> Iterator[str]:
    """Run PostgreSQL and provide its URL."""
    with PostgresContainer("postgres:18-alpine", username="tester", password="tester", driver=None) as container:
        yield container.get_connection_url()


@contextmanager
def run_redis() -> Iterator[str]:
    """Run Redis and provide its URL."""
    with RedisContainer("redis:8-alpine") as container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(container.port)}"


@contextmanager
def run_kafka() -> Iterator[str]:
    """Run Kafka and provide its address."""
    broker = KafkaContainer().with_kraft().with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
    with broker as container:
        yield container.get_bootstrap_server()
