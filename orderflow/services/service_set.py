"""The three embedded services as one: up and down together, each still to be had by itself."""

import asyncio
import fcntl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from orderflow.exits import CannotStart, Failed
from orderflow.services.kafka import Kafka
from orderflow.services.postgresql import PostgreSQL
from orderflow.services.service import Say, Service, ServiceStatus, silent
from orderflow.services.valkey import Valkey
from orderflow.start.project import cache_directory
from orderflow.start.settings import Settings

_LOOPBACK_HOSTS = {"127.0.0.1", "localhost", "::1", "0.0.0.0", ""}
_LOCK_TIMEOUT_S = 120


def check_embeddable(settings: Settings) -> None:
    """Raise `CannotStart` when the settings name services that are not on this machine, or that want encryption."""
    elsewhere = "the embedded services are on this machine only: unset it, or do without 'orderflow services'"
    if settings.postgres_host not in _LOOPBACK_HOSTS:
        raise CannotStart(f"POSTGRES_HOST is {settings.postgres_host!r}, but {elsewhere}")
    if settings.redis_address.host not in _LOOPBACK_HOSTS:
        raise CannotStart(f"REDIS_ADDR is '{settings.redis_address}', but {elsewhere}")
    if len(settings.kafka_brokers) != 1 or settings.kafka_brokers[0].host not in _LOOPBACK_HOSTS:
        raise CannotStart(f"KAFKA_BROKERS is '{','.join(settings.kafka_bootstrap)}', but {elsewhere}")
    plain = "but the embedded services talk without encryption: unset it"
    if settings.postgres_ssl_mode not in {"disable", "prefer"}:
        raise CannotStart(f"POSTGRES_SSL_MODE is {settings.postgres_ssl_mode!r}, {plain}")
    if settings.redis_tls:
        raise CannotStart(f"REDIS_TLS is true, {plain}")
    if settings.kafka_security_protocol != "PLAINTEXT":
        raise CannotStart(f"KAFKA_SECURITY_PROTOCOL is {settings.kafka_security_protocol!r}, {plain}")


class ServiceSet:
    """PostgreSQL, Valkey and Kafka with their data under `directory`, on the ports that `settings` name.

    `cache` holds what is downloaded once (by default the project's). Raises `CannotStart` when the settings name
    services elsewhere.
    """

    def __init__(self, directory: Path, settings: Settings, *, cache: Path | None = None, say: Say = silent) -> None:
        check_embeddable(settings)
        self.directory = directory.absolute()
        self.postgresql = PostgreSQL(self.directory / "postgresql", settings, say)
        self.valkey = Valkey(self.directory / "valkey", settings, say)
        self.kafka = Kafka(self.directory / "kafka", settings, cache or cache_directory(), say)
        self._say = say

    @property
    def services(self) -> tuple[Service, ...]:
        """All three."""
        return self.postgresql, self.valkey, self.kafka

    def status(self) -> list[ServiceStatus]:
        """Return the state of each service, without waiting for any."""
        return [service.status() for service in self.services]

    async def up(self, timeout_s: float = 60) -> list[Service]:
        """Start what does not run, all at once; each answers its own protocol when this returns.

        Returns the services that had to be started. Raises `CannotStart` or `Failed`, or passes on a cancellation, with
        nothing left running that this call started.
        """
        async with self._alone():
            deadline = time.monotonic() + timeout_s
            await asyncio.gather(*(service.check_port(deadline) for service in self.services))
            starts = [asyncio.create_task(service.start(timeout_s), name=service.name) for service in self.services]
            try:
                began = await asyncio.gather(*starts)
            except BaseException:
                for start in starts:
                    start.cancel()
                outcomes = await asyncio.gather(*starts, return_exceptions=True)
                mine = [service for service, began in zip(self.services, outcomes, strict=True) if began is True]
                await asyncio.shield(asyncio.gather(*(service.stop() for service in mine)))
                raise
            return [service for service, started in zip(self.services, began, strict=True) if started]

    async def down(self, timeout_s: float = 20, only: Sequence[Service] | None = None) -> list[Service]:
        """Stop the services (all, or `only` these) cleanly and at once; kill what still runs after `timeout_s`.

        Returns those that ran.
        """
        services = self.services if only is None else only
        async with self._alone():
            ran = await asyncio.gather(*(service.stop(timeout_s) for service in services))
            return [service for service, stopped in zip(services, ran, strict=True) if stopped]

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Keep two commands from starting the same services at once."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = (self.directory / "lock").open("a")
        except OSError as error:
            raise CannotStart(f"{self.directory} cannot be written ({error.strerror}): run this as its owner") from None
        with lock:
            for attempt in range(_LOCK_TIMEOUT_S * 10):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if attempt == 0:
                        self._say("Waiting for another command that starts or stops the same services")
                    await asyncio.sleep(0.1)
            else:
                raise Failed(f"another command has been starting or stopping the services in {self.directory} too long")
            yield
