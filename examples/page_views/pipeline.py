"""The pipeline, and the addresses of its services: from orderflow's environment variables, with the same defaults."""

import os
from typing import Any

from engine import Pipeline

from .handler import PageViewHandler
from .names import DLQ_TOPIC, GROUP, TOPIC


def _setting(name: str, default: str) -> str:
    return os.environ.get(name) or default


# Add other arguments of asyncpg.connect here (for example ssl), and other arguments of aiokafka's clients below.
POSTGRES: dict[str, Any] = {
    "host": _setting("POSTGRES_HOST", "127.0.0.1"),
    "port": int(_setting("POSTGRES_PORT", "55432")),
    "database": _setting("POSTGRES_DATABASE", "order_service"),
    "user": _setting("POSTGRES_USER", "orderflow"),
    "password": _setting("POSTGRES_PASSWORD", "orderflow"),
}
KAFKA: dict[str, Any] = {"bootstrap_servers": _setting("KAFKA_BROKERS", "127.0.0.1:59092").split(",")}

PIPELINE = Pipeline(
    topic=TOPIC,
    group=GROUP,
    dlq_topic=DLQ_TOPIC,
    handler=PageViewHandler(),
    kafka_options=KAFKA,
    postgres_options=POSTGRES,
)
