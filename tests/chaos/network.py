"""The network between orderflow and its services: a proxy before each, for a test to disturb what passes."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import attrs

from orderflow.services import ServiceSet
from orderflow.start.settings import Settings
from tests.support.tcp_proxy import TcpProxy, tcp_proxy


@attrs.frozen
class Network:
    """A proxy before each service, and the environment of a program whose connections all go through them."""

    postgres: TcpProxy
    redis: TcpProxy
    kafka: TcpProxy

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that lead through the proxies."""
        return {
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(self.postgres.port),
            "REDIS_ADDR": f"127.0.0.1:{self.redis.port}",
            "KAFKA_BROKERS": f"127.0.0.1:{self.kafka.port}",
        }

    @property
    def proxies(self) -> Iterable[TcpProxy]:
        """All three."""
        return self.postgres, self.redis, self.kafka

    async def open(self) -> None:
        """Mend everything."""
        for proxy in self.proxies:
            await proxy.open()


@asynccontextmanager
async def proxied_network(settings: Settings, services: ServiceSet) -> AsyncIterator[Network]:
    """Provide open proxies before the embedded services."""
    proxy_listener = services.kafka.proxy_listener
    assert proxy_listener is not None, "the tests' own services have a proxy listener"
    async with (
        tcp_proxy(settings.postgres_host, settings.postgres_port) as postgres,
        tcp_proxy(settings.redis_address.host, settings.redis_address.port) as redis,
        tcp_proxy("127.0.0.1", proxy_listener.port, listen_on=proxy_listener.advertised) as kafka,
    ):
        yield Network(postgres, redis, kafka)
