"""Connection options of PostgreSQL, Redis and Kafka, made from the settings."""

import ssl
from typing import TYPE_CHECKING, Any

from engine.postgres.session import DEFAULTS, OURS
from orderflow.exits import CannotStart
from orderflow.start.address import Address
from orderflow.start.settings import Settings
from orderflow.start.tls import ReloadingContext

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from handlers.cache_servers import CacheServers


def _postgres_ssl(settings: Settings) -> ssl.SSLContext | str | bool:
    mode, root = settings.postgres_ssl_mode, settings.postgres_ssl_root_cert
    if mode == "disable":
        return False
    if mode == "prefer" or (mode == "require" and not root):
        return mode
    return _trusting(root, "POSTGRES_SSL_ROOT_CERT", check_hostname=mode == "verify-full")


def _trusting(cafile: str, variable: str, *, check_hostname: bool = True) -> ssl.SSLContext:
    try:
        return ReloadingContext(cafile, check_hostname=check_hostname)
    except (OSError, ssl.SSLError) as error:
        raise CannotStart(f"{variable} must name a readable PEM file: {error.strerror or error}") from None


def postgres_options(settings: Settings, application: str = OURS) -> dict[str, Any]:
    """Return keyword arguments for `connect` of `engine.postgres.connecting`, and for `asyncpg.create_pool`."""
    return {
        "host": settings.postgres_hosts,
        "port": settings.postgres_port,
        "database": settings.postgres_database,
        "user": settings.postgres_user,
        "password": settings.postgres_password,
        "ssl": _postgres_ssl(settings),
        "timeout": 5,
        "server_settings": {"application_name": application, "timezone": "UTC", **DEFAULTS},
    }


def redis_client(settings: Settings, *, address: Address | None = None, timeout_s: float = 2.0) -> "Redis":
    """Return a client of one Redis server, by default the first. It fails within `timeout_s` and does not retry.

    Callers have their own retry policy.
    """
    # Most commands do not need Redis, and this import takes a sixth of their start time.
    from redis.asyncio import Redis  # noqa: PLC0415
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415

    address = address or settings.redis_address
    return Redis(
        host=address.host or "127.0.0.1",
        port=address.port,
        db=settings.redis_db,
        username=settings.redis_username or None,
        password=settings.redis_password or None,
        ssl=settings.redis_tls,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )


def cache_servers(settings: Settings) -> "CacheServers":
    """Return the Redis servers of the cache: one server, or a cluster."""
    from handlers.cache_servers import CacheServers  # noqa: PLC0415

    return CacheServers(
        lambda host, port: redis_client(settings, address=Address(host, port)),
        [(address.host or "127.0.0.1", address.port) for address in settings.redis_addresses],
    )


def kafka_options(settings: Settings) -> dict[str, Any]:
    """Return keyword arguments of every aiokafka client: brokers and security."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap,
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol in {"SSL", "SASL_SSL"}:
        options["ssl_context"] = _trusting(settings.kafka_ssl_cafile, "KAFKA_SSL_CAFILE")
    if settings.kafka_security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": settings.kafka_sasl_password,
        }
    return options
