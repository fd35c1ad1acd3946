"""The command `orderflow serve` as a process."""

import asyncio
import signal
import socket

import asyncpg
import pytest
from aiohttp import ClientSession

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.programs import Programs
from tests.support.stored_orders import make_order, store_order


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_it_serves_until_it_is_told_to_stop(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, processes: str
) -> None:
    """The order and the page come from the address that the log names; SIGTERM ends it with 0."""
    order = make_order(OrderGenerator(21))
    body = await store_order(database, order)
    server = await orderflow.start("serve", "--processes", processes)
    listening = await server.wait_for("http_listening", count=int(processes))
    assert listening["url"] == f"http://{settings.http_address}"
    async with ClientSession(listening["url"]) as client:
        for _ in range(8):
            async with client.get(f"/order/{order.order_uid}", headers={"Connection": "close"}) as answer:
                assert (answer.status, await answer.read()) == (200, body)
        async with client.get("/") as answer:
            assert answer.status == 200
        # The client keeps its connections: an idle one must not hold up the end.
        assert await server.stop(timeout_s=10) == 0
    lines = server.seen("http_request", order_uid=order.order_uid)
    assert len(lines) == 8
    assert order.delivery.email not in "\n".join(server.stderr_lines)


async def test_a_lookup_in_flight_is_answered_before_the_end(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """SIGTERM while a query runs: the caller still gets the order."""
    order = make_order(OrderGenerator(22))
    body = await store_order(database, order)
    server = await orderflow.start("serve")
    url = (await server.wait_for("http_listening"))["url"]
    async with ClientSession(url) as client:

        async def ask() -> tuple[int, bytes]:
            async with client.get(f"/order/{order.order_uid}") as answer:
                return answer.status, await answer.read()

        async with database.transaction():
            await database.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
            lookup = asyncio.create_task(ask())
            await _until_somebody_waits_for_a_lock(database)
            server.send_signal(signal.SIGTERM)
            await _until_refused(settings)
        assert await lookup == (200, body)
    assert await server.ended(10) == 0


async def test_an_address_that_is_taken_is_named(orderflow: Programs, settings: Settings) -> None:
    """Exit code 3 and one line with HTTP_ADDR, for one process and for several, before a service is waited for."""
    with socket.create_server((settings.http_address.host, settings.http_address.port)):
        for processes in ("1", "2"):
            finished = await orderflow.run("serve", "--processes", processes, POSTGRES_PORT="1")
            assert finished.returncode == 3
            [line] = finished.stderr.splitlines()
            assert line.startswith(f"orderflow: cannot listen on HTTP_ADDR ({settings.http_address}), Address already")


async def test_it_does_not_start_on_a_database_without_a_schema(
    orderflow: Programs, database: asyncpg.Connection
) -> None:
    """An older schema is exit code 3, and the message names the command that mends it."""
    await database.execute("DELETE FROM schema_migrations")
    finished = await orderflow.run("serve")
    assert (finished.returncode, "orderflow migrate" in finished.stderr) == (3, True)


async def _until_somebody_waits_for_a_lock(database: asyncpg.Connection) -> None:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'orders'::regclass"
    async with asyncio.timeout(10):
        while True:
            if await database.fetchval(query):
                return
            await asyncio.sleep(0.01)


async def _until_refused(settings: Settings) -> None:
    """Wait until the server takes no new connections."""
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection(settings.http_address.host, settings.http_address.port)
            except ConnectionError:  # refused; or reset, in the moment when the listener closes
                return
            writer.close()
            await asyncio.sleep(0.01)
