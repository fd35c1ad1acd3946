"""The steps of the demo and of the smoke test."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import click

from orderflow.demo.addresses import Environment, exports, separate_environment, url, usual_environment
from orderflow.demo.comparison import check_answer, published_orders
from orderflow.demo.leftovers import recorded, stop_leftover_processes
from orderflow.demo.processes import Honcho, find_procfile, honcho, run_orderflow
from orderflow.demo.signals import say
from orderflow.exits import Failed
from orderflow.services import Service, ServiceSet
from orderflow.start.project import project_root, services_directory
from orderflow.start.settings import parse_settings

T = TypeVar("T")
_ORDERS = 50
_READY_TIMEOUT_S = 90
_LOOKUP_TIMEOUT_S = 30
_POLL_S = 0.1
_OK = 200


async def demo() -> None:
    """Start everything, publish orders, print their address, and run until cancelled. Raises `OrderflowError`."""
    find_procfile()
    directory = services_directory()
    await _stop_leftovers(directory)
    environment = usual_environment(directory, say)
    async with _system(directory, project_root(), environment) as (process, services):
        uids = await _while_running(process, _publish(environment, project_root()))
        address = url(environment)
        await _while_running(process, _wait_for_order(address, uids[-1]))
        click.echo(f"\nThe page:  {address}/\nAn order:  {address}/?order={quote(uids[-1], safe='')}\n")
        if command := exports(environment):
            click.echo(f"In another terminal, before any other command:\n{command}\n")
        say(f"The log of engine and HTTP server is {process.log}")
        say("Ctrl-C stops everything that was started here")
        await _while_running(process, _watch_services(services))


async def _stop_leftovers(directory: Path) -> None:
    """Stop what killed demos have left running: a second engine would share the work, and the ports would be taken."""
    names = await stop_leftover_processes(directory, say)
    services = ServiceSet(directory, parse_settings({}), say=say)
    left = [service for service in services.services if service.name in names and service.pid is not None]
    if left:
        say(f"Stopping services that a killed demo left running: {', '.join(service.title for service in left)}")
        await services.down(only=left)


async def smoke() -> None:
    """Start everything with separate data, check that each order is answered as it was published, stop everything.

    Raises `OrderflowError` when a check fails.
    """
    began = time.monotonic()
    find_procfile()
    services_directory().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=services_directory(), prefix="smoke-") as folder:
        environment = separate_environment()
        async with _system(Path(folder), Path(folder), environment) as (process, _):
            uids = await _while_running(process, _publish(environment, Path(folder)))
            await _while_running(process, _compare(environment, uids))
    say(f"Smoke test passed: {len(uids)} orders are answered as published ({time.monotonic() - began:.0f} s)")


@asynccontextmanager
async def _system(
    directory: Path, folder: Path, environment: Environment
) -> AsyncIterator[tuple[Honcho, list[Service]]]:
    """Run services, engine and HTTP server until they are ready; at the end stop what was started, the stores last.

    The services' data is in `directory`; the programs run in `folder`.
    """
    services = ServiceSet(directory, parse_settings(environment), say=say)
    started = await services.up()
    try:
        with recorded(directory, started) as record:
            await run_orderflow("migrate", environment=environment, folder=folder)
            await run_orderflow("topics", "create", environment=environment, folder=folder)
            say(f"Starting the engine and the HTTP server on {url(environment)}")
            async with honcho(environment, folder, directory / "log" / "demo.log", record) as process:
                await _while_running(process, _wait_until_ready(process, url(environment)))
                yield process, list(services.services)
    finally:
        if started:
            say(f"Stopping {', '.join(service.title for service in started)}")
            await services.down(only=started)


async def _while_running(process: Honcho, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns. Raises `Failed` as soon as engine or HTTP server stops."""
    working = asyncio.create_task(work, name="work")
    watching = asyncio.create_task(process.watch(), name="watch")
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await watching
        return await working
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _publish(environment: Environment, folder: Path) -> list[str]:
    """Publish orders, print the command's output, and return their uids."""
    output = await run_orderflow("publish", str(_ORDERS), environment=environment, folder=folder)
    click.echo(output, nl=False)
    return [line for line in output.splitlines() if line and not line.startswith("--- ")]


async def _eventually(timeout_s: float, attempt: Callable[[], Awaitable[int]]) -> bool:
    """Repeat an HTTP request until it is answered with 200. Return False after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if await attempt() == _OK:
                return True
        except (aiohttp.ClientError, OSError):
            pass
        await asyncio.sleep(_POLL_S)
    return False


@asynccontextmanager
async def _getting(address: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:

        async def get() -> int:
            async with session.get(address) as answer:
                return answer.status

        yield get


async def _wait_until_ready(process: Honcho, address: str) -> None:
    async with _getting(f"{address}/readyz") as get:
        if not await _eventually(_READY_TIMEOUT_S, get):
            raise Failed(f"{address}/readyz was not 200 within {_READY_TIMEOUT_S} s: {process.show_log()}")


async def _wait_for_order(address: str, uid: str) -> None:
    async with _getting(f"{address}/order/{quote(uid, safe='')}") as get:
        if not await _eventually(_LOOKUP_TIMEOUT_S, get):
            raise Failed(f"the order {uid} was not found within {_LOOKUP_TIMEOUT_S} s after it was published")


async def _compare(environment: Environment, uids: list[str]) -> None:
    if len(set(uids)) != _ORDERS:
        raise Failed(f"{len(set(uids))} orders were published instead of {_ORDERS}")
    published = await published_orders(parse_settings(environment), set(uids))
    address = url(environment)
    for uid in uids:
        await _wait_for_order(address, uid)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        for uid in uids:
            await check_answer(session, address, published[uid])


async def _watch_services(services: list[Service]) -> None:
    """Run until cancelled. Raises `Failed` when a service stops."""
    while True:
        for service in services:
            if service.pid is None:
                raise Failed(f"{service.title} has stopped: see {service.process.log_file}")
        await asyncio.sleep(1)
