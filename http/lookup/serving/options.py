"""The options of the HTTP application: limits, deadlines and how to reach the stores."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from handlers.cache_servers import Servers
from handlers.value_formats import JSON

if TYPE_CHECKING:
    from engine.telemetry.spans import Tracing


@attrs.frozen(kw_only=True)
class Connections:
    """How to reach the stores and the brokers. Nothing is opened before the application starts."""

    postgres: Mapping[str, Any] = attrs.field(repr=False)
    """Keyword arguments of `asyncpg.create_pool`."""
    redis: Callable[[], Servers] = attrs.field(repr=False)
    """Creates clients of the cache's servers that fail quickly and do not retry by themselves."""
    kafka: Mapping[str, Any] = attrs.field(repr=False)
    """Keyword arguments of `aiokafka.client.AIOKafkaClient`."""
    kafka_topic: str
    kafka_group: str
    """The engine's consumer group, whose dead letters are shown."""


@attrs.frozen(kw_only=True)
class LookupOptions:
    """Limits and deadlines of the HTTP application; times in seconds, sizes in bytes."""

    ui_directory: Path
    """The folder of the pages' files. They are read once, at start."""
    cache_ttl_s: int
    """How long a filled answer lives in Redis."""

    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may read answers to GET, as browsers write them. Empty: none."""
    tracing: "Tracing | None" = None
    """Makes a span for each request; None: no spans."""
    direct: bool = True
    """Whether lookups are answered by `lookup.serving.direct`, where spans are off; else all go through aiohttp."""
    process: str = "http"
    """The name of this process among those that share an address: a label of its metrics."""
    lookup_deadline_s: float = 3.0
    """The longest total time of one lookup or search, before it is answered with 503."""
    cache_deadline_s: float = 0.25
    """The longest time of one MGET or one fill, before Redis counts as unavailable."""
    cache_probe_pause_s: float = 0.25
    """The pause between two probes while Redis is unavailable."""
    cache_check_s: float = 5.0
    """The pause between two probes while Redis is available: a server that refuses writes still answers reads."""
    store_deadline_s: float = 2.0
    """The longest time of one SELECT, with the wait for a connection."""
    store_connections: int = 4
    """How many connections to PostgreSQL are shared by lookups and health checks."""
    search_connections: int = 2
    """How many searches and stories run at once, each on its own connection. More wait, or are answered with 503."""

    admin_token: str = attrs.field(default="", repr=False)
    """The token that a request needs for everything but reading. Empty: requests may only read."""
    value_format: str = JSON
    """What a message's value is wrapped in: one of `handlers.value_formats`."""
    letter_connections: int = 2
    """How many requests read dead letters at once, each on a connection of its own."""
    letter_shape_max_bytes: int = 1024 * 1024
    """The largest payload of a dead letter that is shown masked. A larger one is not shown."""
    letter_body_max_bytes: int = 2 * 1024 * 1024 + 1024
    """The largest body of a request with a corrected message: a message of 1 MiB, written as a JSON string."""
    letter_body_deadline_s: float = 10.0
    """How long such a body may take to arrive."""
    broker_deadline_s: float = 5.0
    """The longest time that Kafka may take to list the partitions, or to acknowledge messages."""
    replay_max_letters: int = 1000
    """How many dead letters one request replays at most."""
    replay_deadline_s: float = 20.0
    """A request stops replaying dead letters after this time."""

    batch_max_orders: int = 500
    """How many lookups one MGET or one SELECT answers at most."""
    waiting_max_orders: int = 10_000
    """How many lookups may wait for each store. More wait for room, or are answered with 503."""
    fill_max_bytes: int = 16 * 1024 * 1024
    """How many bytes may wait to be written to the cache. Bodies that do not fit are not cached."""

    health_deadline_s: float = 2.0
    dead_letter_max_wait_s: float = 10.0
    """How long a dead letter may wait for the dead-letter topic before the health check fails."""

    max_requests: int = 2000
    """How many requests are handled at once. More are answered with 503."""
    max_connections: int = 4096
    """How many connections are open at once. More are answered with 503 and closed."""
    unsent_max_bytes: int = 64 * 1024 * 1024
    """How many bytes may wait for slow readers. For more, the connection that has waited longest is closed.

    What every connection may have beside that is in `lookup.serving.unsent`.
    """
    operations_every_s: float = 0.9
    """The interval of snapshots: a little shorter than that of supervisors' reports, so that no state is missed."""
    operations_deadline_s: float = 0.8
    """The longest time of one request to a service for a snapshot."""
    operations_max_listeners: int = 100
    """How many listeners may be connected at once. More are answered with 503."""

    head_deadline_s: float = 30.0
    """A head must be complete in this time after the connection opened, or after the head's first byte."""
    keepalive_s: float = 75.0
    """How long an idle connection is kept after an answer: longer than proxies keep theirs, mostly 60 s."""
    max_line_bytes: int = 8190
    max_field_bytes: int = 8190
    max_headers: int = 64
    max_body_bytes: int = 1024
    """The limit for routes that read no body."""
    lingering_s: float = 1.0
    """How long an unread request body is read and dropped after the answer."""
