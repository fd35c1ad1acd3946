"""What the HTTP application is told when it is made: limits, deadlines and how to reach the stores."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from redis.asyncio import Redis

if TYPE_CHECKING:
    from engine.telemetry.spans import Tracing


@attrs.frozen(kw_only=True)
class Connections:
    """How to reach the stores and the brokers. Nothing is opened before the application starts."""

    postgres: Mapping[str, Any] = attrs.field(repr=False)
    """Keyword arguments of `asyncpg.create_pool`."""
    redis: Callable[[], Redis] = attrs.field(repr=False)
    """Makes a client that fails quickly and does not retry by itself."""
    kafka: Mapping[str, Any] = attrs.field(repr=False)
    """Keyword arguments of `aiokafka.client.AIOKafkaClient`."""
    kafka_topic: str
    kafka_group: str
    """The engine's consumer group: whose dead letters are looked at."""


@attrs.frozen(kw_only=True)
class LookupOptions:
    """Limits and deadlines of the HTTP application; times in seconds, sizes in bytes."""

    ui_directory: Path
    """Where the files of the page lie. They are read once, at start."""
    cache_ttl_s: int
    """How long a filled answer lives in Redis."""

    tracing: "Tracing | None" = None
    """What makes a span of each request, if spans are wanted."""
    process: str = "http"
    """The name of this process among those that share an address: a label of its metrics."""
    lookup_deadline_s: float = 3.0
    """The longest that one lookup or search may take, all in all, before it is answered with 503."""
    cache_deadline_s: float = 0.25
    """The longest that one MGET or one fill may take before Redis counts as out of order."""
    cache_probe_pause_s: float = 0.25
    """How long Redis is left alone between two probes while it is out of order."""
    store_deadline_s: float = 2.0
    """The longest that one SELECT may take, the wait for a connection included."""
    store_connections: int = 4
    """How many connections to PostgreSQL lookups and checks of health share."""
    search_connections: int = 2
    """How many searches and stories run at once, each on its own connection. One more waits, or gets 503."""

    admin_token: str = attrs.field(default="", repr=False)
    """What a request must present to do more than read. Empty: none may."""
    letter_connections: int = 2
    """How many requests read dead letters at once, each on a connection of its own."""
    letter_shape_max_bytes: int = 1024 * 1024
    """A dead letter's payload that is larger than this is not shown masked."""
    letter_body_max_bytes: int = 2 * 1024 * 1024 + 1024
    """How large the body of a request that mends a dead letter may be: a message of 1 MiB, written as a JSON string."""
    letter_body_deadline_s: float = 10.0
    """How long such a body may take to arrive."""
    broker_deadline_s: float = 5.0
    """The longest that Kafka may take to name its partitions, or to acknowledge what was sent."""
    replay_max_letters: int = 1000
    """How many dead letters one request sends again at most."""
    replay_deadline_s: float = 20.0
    """No more dead letters are sent again by a request that has taken so long."""

    batch_max_orders: int = 500
    """How many lookups one MGET or one SELECT answers at most."""
    waiting_max_orders: int = 10_000
    """How many lookups may wait for either store. One more waits for room, or is answered with 503."""
    fill_max_bytes: int = 16 * 1024 * 1024
    """How many bytes may wait to be filled into the cache. What does not fit is not filled."""

    health_deadline_s: float = 2.0
    dead_letter_max_wait_s: float = 10.0
    """How long a dead letter may wait for the dead-letter topic before that is a failure of health."""

    max_requests: int = 2000
    """How many requests are in work at once. One more is answered with 503."""
    max_connections: int = 4096
    """How many connections are open at once. One more is answered with 503 and closed."""
    operations_every_s: float = 0.9
    """How often those who watch are told: a little more often than supervisors write, so that no state is missed."""
    operations_deadline_s: float = 0.8
    """The longest that one question to a service may take for that."""
    operations_max_listeners: int = 100
    """How many may watch at once. One more is answered with 503."""

    head_deadline_s: float = 30.0
    """A connection on which no whole request head arrives within this time is cut off."""
    max_line_bytes: int = 8190
    max_field_bytes: int = 8190
    max_headers: int = 64
    max_body_bytes: int = 1024
    """No route takes a body."""
    lingering_s: float = 1.0
    """How long the body of a request that no route reads is read and dropped."""
