"""Runs the HTTP application in the process of the test, on a free port, with proxies in front of its stores."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import ClientSession, ClientTimeout, web
from lookup.application import create_application
from lookup.serving.options import Connections, LookupOptions
from lookup.serving.runner import LookupRunner

from orderflow.start.address import Address
from orderflow.start.connections import cache_servers, kafka_options, postgres_options
from orderflow.start.settings import Settings
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

both_ways = pytest.mark.parametrize("server", [True, False], indirect=True, ids=["direct", "through-aiohttp"])
"""Runs a test both with direct lookups and with those that go through aiohttp. Its fixture `server` gets the option."""
UI = Path(__file__).resolve().parents[2] / "ui"


@attrs.frozen
class LookupServer:
    """A server that listens on `port`, a client for it, and the proxies in front of its stores."""

    port: int
    client: ClientSession
    postgres: TcpProxy
    redis: TcpProxy


def address(server: LookupServer, path: str = "/") -> str:
    """Return the address of a path, for a browser."""
    return f"http://127.0.0.1:{server.port}{path}"


@asynccontextmanager
async def lookup_runner(settings: Settings, **changes: Any) -> AsyncIterator[LookupRunner]:
    """Run the application without listening. `changes` replace fields of `LookupOptions`."""
    options = attrs.evolve(LookupOptions(ui_directory=UI, cache_ttl_s=settings.redis_ttl_s), **changes)
    connections = Connections(
        postgres=postgres_options(settings),
        redis=lambda: cache_servers(settings),
        kafka=kafka_options(settings),
        kafka_topic=settings.kafka_topic,
        kafka_group=settings.kafka_group_id,
    )
    runner = LookupRunner(create_application(options, connections), options, shutdown_timeout_s=5)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()


@asynccontextmanager
async def lookup_server(settings: Settings, **changes: Any) -> AsyncIterator[LookupServer]:
    """Run the application. `changes` replace fields of `LookupOptions`."""
    async with (
        tcp_proxy(settings.postgres_host, settings.postgres_port) as postgres,
        tcp_proxy(settings.redis_address.host, settings.redis_address.port) as redis,
    ):
        proxied = attrs.evolve(
            settings,
            postgres_host="127.0.0.1",
            postgres_port=postgres.port,
            redis_addresses=(Address("127.0.0.1", redis.port),),
        )
        async with lookup_runner(proxied, **changes) as runner:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            timeout = ClientTimeout(total=20)
            async with ClientSession(f"http://127.0.0.1:{site.port}", timeout=timeout) as client:
                yield LookupServer(site.port, client, postgres, redis)
