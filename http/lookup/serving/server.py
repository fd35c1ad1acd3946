"""Listens, serves until a stop is requested, and finishes the requests in flight."""

import asyncio

import attrs
import structlog
from aiohttp import web

from lookup.serving import events
from lookup.serving.options import LookupOptions
from lookup.serving.runner import LookupRunner

log = structlog.get_logger()


class AddressTaken(Exception):
    """The address cannot be bound. The message is the operating system's reason."""


@attrs.frozen(kw_only=True)
class ListenAddress:
    """Where to listen. An empty host means every interface. `shared`: several processes use the same address."""

    host: str
    port: int
    shared: bool = False


async def run_server(
    application: web.Application,
    options: LookupOptions,
    listener: ListenAddress,
    stop: asyncio.Event,
    *,
    shutdown_timeout_s: float,
) -> None:
    """Serve until `stop` is set, then finish the requests in flight within `shutdown_timeout_s` seconds.

    Logs the address as a URL once connections are accepted. Raises `AddressTaken`.
    """
    runner = LookupRunner(application, options, shutdown_timeout_s=shutdown_timeout_s)
    await runner.setup()
    try:
        site = web.TCPSite(
            runner, listener.host or None, listener.port, backlog=1024, reuse_port=listener.shared or None
        )
        try:
            await site.start()
        except OSError as error:
            raise AddressTaken(error.strerror or str(error)) from None
        log.info(events.HTTP_LISTENING, url=site.name)
        await stop.wait()
    finally:
        await runner.cleanup()
        log.info(events.HTTP_STOPPED)
