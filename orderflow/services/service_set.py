"""The three embedded services together: starts and stops all of them, and gives access to each."""

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
    """Raise `CannotStart` when the settings name services on another machine, or require encryption."""
    elsewhere = "the embedded services run only on this machine: unset it, or do not use 'orderflow services'"
    if settings.postgres_host not in _LOOPBACK_HOSTS:
        raise CannotStart(f"POSTGRES_HOST is {settings.postgres_host!r}, but {elsewhere}")
    if settings.redis_address.host not in _LOOPBACK_HOSTS:
        raise CannotStart(f"REDIS_ADDR is '{settings.redis_address}', but {elsewhere}")
    if len(settings.kafka_brokers) != 1 or settings.kafka_brokers[0].host not in _LOOPBACK_HOSTS:
        raise CannotStart(f"KAFKA_BROKERS is '{','.join(settings.kafka_bootstrap)}', but {elsewhere}")
    plain = "but the embedded services do not support encryption: unset it"
    if settings.postgres_ssl_mode not in {"disable", "prefer"}:
        raise CannotStart(f"POSTGRES_SSL_MODE is {settings.postgres_ssl_mode!r}, {plain}")
    if settings.redis_tls:
        raise CannotStart(f"REDIS_TLS is true, {plain}")
    if settings.kafka_security_protocol != "PLAINTEXT":
        raise CannotStart(f"KAFKA_SECURITY_PROTOCOL is {settings.kafka_security_protocol!r}, {plain}")


class ServiceSet:
    """PostgreSQL, Valkey and Kafka with their data under `directory`, on the ports in `settings`.

    `cache` is the folder of downloads (default: the project's). Raises `CannotStart` when the settings name services on
    another machine.
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
        """All three services."""
        return self.postgresql, self.valkey, self.kafka

    def status(self) -> list[ServiceStatus]:
        """Return the status of each service, without asking it."""
        return [service.status() for service in self.services]

    async def up(self, timeout_s: float = 60) -> list[Service]:
        """Start the services that do not run, in parallel, and wait until all of them answer.

        Returns the started services. Raises `CannotStart` or `Failed`. After an error or a cancellation, no service
        that this call has started is left running.
        """
        async with self._locked():
            deadline = time.monotonic() + timeout_s
            await asyncio.gather(*(service.check_port(deadline) for service in self.services))
            starts = [asyncio.create_task(service.start(timeout_s), name=service.name) for service in self.services]
            try:
                outcomes = await asyncio.gather(*starts)
            except BaseException:
                for start in starts:
                    start.cancel()
                results = await asyncio.gather(*starts, return_exceptions=True)
                begun = [service for service, started in zip(self.services, results, strict=True) if started is True]
                await asyncio.shield(asyncio.gather(*(service.stop() for service in begun)))
                raise
            return [service for service, started in zip(self.services, outcomes, strict=True) if started]

    async def down(self, timeout_s: float = 20, only: Sequence[Service] | None = None) -> list[Service]:
        """Stop all services, or `only` these, cleanly and in parallel; kill those that still run after `timeout_s`.

        Returns the services that ran.
        """
        services = self.services if only is None else only
        async with self._locked():
            ran = await asyncio.gather(*(service.stop(timeout_s) for service in services))
            return [service for service, stopped in zip(services, ran, strict=True) if stopped]

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Hold a lock, so that two commands do not start or stop the same services at the same time."""
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
