"""Settings: read once from the environment, frozen, checked with errors that name the variable."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import attrs
from dotenv import dotenv_values

from handlers.value_formats import VALUE_FORMATS
from orderflow.start.address import (
    MAX_PORT,
    Address,
    parse_address,
    parse_addresses,
    parse_hosts,
    parse_redis_addresses,
    without_login,
)
from orderflow.start.harmless import is_harmless
from orderflow.start.origins import parse_origins
from orderflow.start.real_environment import STOPS_WITHIN_S, real_environment, under_honcho

T = TypeVar("T")
ENV_FILE = Path(".env")
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_DATABASE = re.compile(r"[^\x00/]{1,63}")
_LOGIN = re.compile(r"://|\bpassword\s*=|:[^@]*@", re.IGNORECASE)
"""Found in a URL, a connection string or `user:password@host`: each may hold a password."""


class SettingError(Exception):
    """A setting is wrong. The message is one line: the variable, what is wrong with it, and what is allowed."""


def _number(convert: Callable[[str], T], kind: str, low: float, high: float) -> Callable[[str], T]:
    def parse(text: str) -> T:
        try:
            value = convert(text)
        except ValueError:
            raise ValueError(f"must be {kind} from {low:,} to {high:,}") from None
        if not low <= float(value) <= high:  # type: ignore[arg-type]
            raise ValueError(f"must be {kind} from {low:,} to {high:,}")
        return value

    return parse


def _whole(low: int, high: int) -> Callable[[str], int]:
    return _number(int, "a whole number", low, high)


def _seconds(low: float, high: float) -> Callable[[str], float]:
    return _number(float, "a number of seconds", low, high)


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        for value in allowed:
            if text.lower() == value.lower():
                return value
        raise ValueError(f"must be one of {', '.join(allowed)}")

    return parse


def _flag(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError("must be true or false")


def _matching(pattern: re.Pattern[str], allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"must be {allowed}")
        return text

    return parse


def _text(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    return text


def _plain(kind: str, login: str, parse: Callable[[str], str] = _text) -> Callable[[str], str]:
    """Return a parser of a name or a path that refuses a URL or a connection string. `login` names what to set."""

    def checked(text: str) -> str:
        if _LOGIN.search(text):
            raise ValueError(f"must be {kind}, not a URL or a connection string: set {login}")
        return parse(text)

    return checked


def _setting(name: str, default: str, parse: Callable[[str], Any], *, secret: bool = False) -> Any:
    return attrs.field(metadata={"variable": name, "default": default, "parse": parse}, repr=not secret)


_POSTGRES_LOGIN = "POSTGRES_USER and POSTGRES_PASSWORD"
_REDIS_LOGIN = "REDIS_USERNAME and REDIS_PASSWORD"
_KAFKA_LOGIN = "KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"


@attrs.frozen(kw_only=True)
class Settings:
    """All settings, parsed and checked. `repr` does not show secrets.

    To add one: here, in `.env.example`, in `tests/unit/test_settings.py`, and in the command that uses it.
    """

    log_level: str = _setting("LOG_LEVEL", "info", _choice("debug", "info", "warning", "error"))
    log_format: str = _setting("LOG_FORMAT", "json", _choice("json", "console"))
    http_address: Address = _setting("HTTP_ADDR", "127.0.0.1:8080", without_login(parse_address, "host:port", ""))
    http_keepalive_s: float = _setting("HTTP_KEEPALIVE_S", "75", _seconds(1, 86_400))
    http_cors_origins: tuple[str, ...] = _setting("HTTP_CORS_ORIGINS", "", parse_origins)

    postgres_host: str = _setting(
        "POSTGRES_HOST", "127.0.0.1", without_login(parse_hosts, "one or more hosts", _POSTGRES_LOGIN)
    )
    postgres_port: int = _setting("POSTGRES_PORT", "55432", _whole(1, MAX_PORT))
    postgres_database: str = _setting(
        "POSTGRES_DATABASE",
        "order_service",
        _plain("a database name", f"POSTGRES_HOST, {_POSTGRES_LOGIN}", _matching(_DATABASE, "a database name")),
    )
    postgres_user: str = _setting(
        "POSTGRES_USER", "orderflow", _plain("a user name", f"POSTGRES_HOST, {_POSTGRES_LOGIN}")
    )
    postgres_password: str = _setting("POSTGRES_PASSWORD", "orderflow", _text, secret=True)
    postgres_ssl_mode: str = _setting(
        "POSTGRES_SSL_MODE", "disable", _choice("disable", "prefer", "require", "verify-full")
    )
    postgres_ssl_root_cert: str = _setting("POSTGRES_SSL_ROOT_CERT", "", _plain("the path of a file", _POSTGRES_LOGIN))

    kafka_brokers: tuple[Address, ...] = _setting(
        "KAFKA_BROKERS",
        "127.0.0.1:59092",
        without_login(parse_addresses, "a comma-separated list of host:port", _KAFKA_LOGIN),
    )
    kafka_topic: str = _setting(
        "KAFKA_TOPIC", "orders", _matching(_TOPIC, "a topic name of letters, digits, '.', '_' and '-'")
    )
    kafka_partitions: int = _setting("KAFKA_PARTITIONS", "4", _whole(1, 10_000))
    kafka_group_id: str = _setting("KAFKA_GROUP_ID", "order-service-consumer", _matching(_TOPIC, "a consumer group"))
    kafka_dlq_topic: str = _setting(
        "KAFKA_DLQ_TOPIC", "orders-dlq", _matching(_TOPIC, "a topic name of letters, digits, '.', '_' and '-'")
    )
    kafka_value_format: str = _setting("KAFKA_VALUE_FORMAT", VALUE_FORMATS[0], _choice(*VALUE_FORMATS))
    kafka_security_protocol: str = _setting(
        "KAFKA_SECURITY_PROTOCOL", "PLAINTEXT", _choice("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
    )
    kafka_sasl_mechanism: str = _setting(
        "KAFKA_SASL_MECHANISM", "PLAIN", _choice("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    )
    kafka_sasl_username: str = _setting("KAFKA_SASL_USERNAME", "", _plain("a user name", _KAFKA_LOGIN))
    kafka_sasl_password: str = _setting("KAFKA_SASL_PASSWORD", "", _text, secret=True)
    kafka_ssl_cafile: str = _setting("KAFKA_SSL_CAFILE", "", _plain("the path of a file", _KAFKA_LOGIN))
    kafka_initial_retry_delay_s: float = _setting("KAFKA_INITIAL_RETRY_DELAY_S", "2", _seconds(0.01, 3600))
    kafka_max_retry_delay_s: float = _setting("KAFKA_MAX_RETRY_DELAY_S", "60", _seconds(0.01, 3600))
    kafka_backoff_factor: float = _setting("KAFKA_BACKOFF_FACTOR", "2.0", _number(float, "a number", 1, 100))
    kafka_max_retries: int = _setting("KAFKA_MAX_RETRIES", "5", _whole(0, 1_000_000))

    redis_addresses: tuple[Address, ...] = _setting(
        "REDIS_ADDR",
        "127.0.0.1:56379",
        without_login(parse_redis_addresses, "host:port, or a list of them", f"{_REDIS_LOGIN} (REDIS_TLS for rediss)"),
    )
    redis_username: str = _setting("REDIS_USERNAME", "", _plain("a user name", _REDIS_LOGIN))
    redis_password: str = _setting("REDIS_PASSWORD", "", _text, secret=True)
    redis_db: int = _setting("REDIS_DB", "0", _whole(0, 1_000_000))
    redis_tls: bool = _setting("REDIS_TLS", "false", _flag)
    redis_ttl_s: int = _setting("REDIS_TTL", "3600", _whole(1, 31_536_000))
    cache_warm_orders: int = _setting("CACHE_WARM_ORDERS", "10000", _whole(0, 10_000_000))

    workers: int | None = _setting("WORKERS", "", lambda text: _whole(1, 256)(text) if text else None)
    batch_max_orders: int = _setting("BATCH_MAX_ORDERS", "1000", _whole(1, 100_000))
    batch_history_s: float = _setting("BATCH_HISTORY_S", "604800", _seconds(60, 10 * 365 * 86_400))
    batch_max_bytes: int = _setting("BATCH_MAX_BYTES", str(8 * 1024 * 1024), _whole(1024, 1 << 30))
    restart_max: int = _setting("RESTART_MAX", "10", _whole(0, 1_000_000))
    restart_window_s: float = _setting("RESTART_WINDOW_S", "60", _seconds(0.1, 86_400))
    start_timeout_s: float = _setting("START_TIMEOUT_S", "60", _seconds(0, 86_400))
    shutdown_timeout_s: float = _setting("SHUTDOWN_TIMEOUT_S", "30", _seconds(0.1, 86_400))
    brake_share: float = _setting("BRAKE_SHARE", "0.5", _number(float, "a number", 0, 1))
    brake_window: int = _setting("BRAKE_WINDOW", "1000", _whole(1, 10_000_000))
    brake_pause_s: float = _setting("BRAKE_PAUSE_S", "60", _seconds(0.01, 86_400))
    admin_token: str = _setting("ADMIN_TOKEN", "", _text, secret=True)

    @property
    def postgres_hosts(self) -> list[str]:
        """The hosts of PostgreSQL's cluster: names, addresses, or folders of sockets."""
        return self.postgres_host.split(",")

    @property
    def postgres_address(self) -> str:
        """Where PostgreSQL listens, for messages: `host:port`, for a list each with the port."""
        return ",".join(
            f"{host}/.s.PGSQL.{self.postgres_port}" if host.startswith("/") else str(Address(host, self.postgres_port))
            for host in self.postgres_hosts
        )

    @property
    def kafka_bootstrap(self) -> list[str]:
        """The brokers as `host:port` strings."""
        return [str(address) for address in self.kafka_brokers]

    @property
    def redis_address(self) -> Address:
        """The address of Redis, or of the first node of the list."""
        return self.redis_addresses[0]

    @property
    def effective_workers(self) -> int:
        """`WORKERS`, or the smaller of the machine's cores and the topic's partitions."""
        return self.workers or min(len(os.sched_getaffinity(0)), self.kafka_partitions)

    def postgres_url(self, host: str | None = None) -> str:
        """Return the database's URL for dbmate, at one of the hosts (default: the first).

        It contains the password: never print it.
        """
        host = host or self.postgres_hosts[0]
        options = {"sslmode": self.postgres_ssl_mode}
        if self.postgres_ssl_root_cert and self.postgres_ssl_mode in {"require", "verify-full"}:
            options["sslrootcert"] = self.postgres_ssl_root_cert
        if host.startswith("/"):
            options["host"], place = host, f":{self.postgres_port}"
        else:
            place = str(Address(host, self.postgres_port))
        return (
            f"postgres://{quote(self.postgres_user, safe='')}:{quote(self.postgres_password, safe='')}"
            f"@{place}/{quote(self.postgres_database, safe='')}?{urlencode(options, quote_via=quote, safe='')}"
        )


def variables() -> dict[str, str]:
    """Return the environment variables of all settings, with their defaults as text."""
    return {field.metadata["variable"]: field.metadata["default"] for field in attrs.fields(Settings)}


def parse_settings(environ: Mapping[str, str]) -> Settings:
    """Parse and check `environ`. An empty value means the default; a secret keeps its spaces. Raises `SettingError`.

    The error repeats the value only if it cannot hold a login.
    """
    values: dict[str, Any] = {}
    for field in attrs.fields(Settings):
        name, default, secret = field.metadata["variable"], field.metadata["default"], not field.repr
        given = environ.get(name, "")
        text = (given if secret else given.strip()) or default
        try:
            values[field.name] = field.metadata["parse"](text)
        except ValueError as error:
            shown = f" (it is {text[:80]!r})" if not secret and is_harmless(name, text) else ""
            raise SettingError(f"{name} {error}{shown}") from None
    settings = Settings(**values)
    if settings.kafka_max_retry_delay_s < settings.kafka_initial_retry_delay_s:
        raise SettingError(
            f"KAFKA_MAX_RETRY_DELAY_S must be at least KAFKA_INITIAL_RETRY_DELAY_S "
            f"({settings.kafka_initial_retry_delay_s:g}) (it is '{settings.kafka_max_retry_delay_s:g}')"
        )
    if settings.kafka_dlq_topic == settings.kafka_topic:
        raise SettingError(f"KAFKA_DLQ_TOPIC must differ from KAFKA_TOPIC (it is {settings.kafka_topic!r})")
    protocol = settings.kafka_security_protocol
    if protocol.startswith("SASL") and not (settings.kafka_sasl_username and settings.kafka_sasl_password):
        unset = "KAFKA_SASL_PASSWORD" if settings.kafka_sasl_username else "KAFKA_SASL_USERNAME"
        raise SettingError(f"{unset} must be set when KAFKA_SECURITY_PROTOCOL is {protocol}")
    return settings


def load_settings(env_file: Path = ENV_FILE) -> Settings:
    """Read the settings from the process environment, and from `env_file` for variables that it does not set.

    Under honcho a stop must not take longer than honcho waits for it.
    """
    try:
        from_file = {name: value for name, value in dotenv_values(env_file).items() if value is not None}
    except OSError as error:
        raise SettingError(f"{env_file} cannot be read ({error.strerror}): fix or remove it") from None
    except UnicodeDecodeError:
        raise SettingError(f"{env_file} must be text in UTF-8: fix or remove it") from None
    settings = parse_settings({**from_file, **real_environment()})
    if not under_honcho():
        return settings
    return attrs.evolve(settings, shutdown_timeout_s=min(settings.shutdown_timeout_s, STOPS_WITHIN_S))
