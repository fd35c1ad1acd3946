"""Clients that come in crowds, that are slow, or that send what is no HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from time import perf_counter

import asyncpg
import pytest
from aiohttp import ClientSession
from lookup.serving import events
from lookup.serving.runner import LookupRunner
from lookup.serving.unsent import UNCOUNTED_BYTES
from structlog.testing import capture_logs

from bench.summary import percentile
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.lookup_server import lookup_runner, lookup_server
from tests.support.memory_transport import MemoryTransport
from tests.support.programs import Programs
from tests.support.raw_http import exchange
from tests.support.stored_orders import make_order, store_order

SLOW_CLIENTS = 200


@asynccontextmanager
async def slow_clients(port: int, count: int) -> AsyncIterator[None]:
    """Hold connections open, each sending its request byte by byte without an end."""

    async def trickle() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"GET /order/uid HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            connected.release()
            while True:
                await writer.drain()
                await asyncio.sleep(0.2)
                writer.write(b"a")
        finally:
            writer.close()

    connected = asyncio.Semaphore(0)
    clients = [asyncio.create_task(trickle()) for _ in range(count)]
    try:
        for _ in clients:
            await connected.acquire()
        yield
        assert not [client for client in clients if client.done()], "the server hung up on a slow client"
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


async def test_two_hundred_slow_clients_hold_up_nobody(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Others are answered as before while these keep their connections."""
    order = make_order(OrderGenerator(31))
    body = await store_order(database, order)
    server = await orderflow.start("serve")
    url = (await server.wait_for("http_listening"))["url"]
    async with ClientSession(url) as client:

        async def ask_often() -> float:
            """Return the 99th percentile in milliseconds."""
            times_ms = []
            for _ in range(300):
                began = perf_counter()
                async with client.get(f"/order/{order.order_uid}") as answer:
                    assert (answer.status, await answer.read()) == (200, body)
                times_ms.append((perf_counter() - began) * 1000)
            return percentile(times_ms, 99)

        alone_ms = await ask_often()
        async with slow_clients(settings.http_address.port, SLOW_CLIENTS):
            assert await ask_often() < max(10 * alone_ms, 100)


@pytest.mark.parametrize("direct", [True, False])
async def test_a_crowd_beyond_the_bound_is_refused_at_once(settings: Settings, direct: bool) -> None:
    """While PostgreSQL is silent requests pile up: one too many is told to come back, and the process is alive."""
    patience = {"lookup_deadline_s": 20, "store_deadline_s": 20}
    async with lookup_server(settings, max_requests=5, direct=direct, **patience) as server:

        async def ask(path: str) -> tuple[int, str | None]:
            async with server.client.get(path) as answer:
                return answer.status, answer.headers.get("Retry-After")

        server.postgres.hold()
        asked = [asyncio.create_task(ask(f"/order/nobody-{number}")) for number in range(6)]
        [refused], waiting = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert refused.result() == (503, "1")
        assert await ask("/") == (503, "1")
        assert await ask("/livez") == (200, None)
        await server.postgres.open()
        assert await asyncio.gather(*waiting) == [(404, None)] * 5
        assert await ask("/order/one-more") == (404, None)


async def test_more_connections_than_there_is_room_for_are_refused(settings: Settings) -> None:
    """Those that are there stay; when one leaves there is room again."""
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with lookup_server(settings, max_connections=3) as server:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
        for reader, writer in held:
            writer.write(request.replace(b"close", b"keep-alive"))
            assert b"200 OK" in await reader.readline()
        refused = await exchange(server.port, b"")
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1\r\n" in refused
        assert refused.endswith(b'{"error":"overloaded"}')
        held[0][1].close()

        async def answered() -> bytes:
            return await exchange(server.port, request)

        assert await eventually(answered, lambda answer: answer.startswith(b"HTTP/1.1 200 "))
        for _, writer in held:
            writer.close()


@pytest.mark.parametrize("direct", [True, False])
async def test_slow_readers_keep_no_more_memory_than_there_is_for_them(
    settings: Settings, database: asyncpg.Connection, direct: bool
) -> None:
    """Who has waited longest for its reader is cut off; the others stay, and who reads in time is not counted."""
    order = make_order(OrderGenerator(32))
    request = f"GET /order/{order.order_uid} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    asked = 2 * UNCOUNTED_BYTES // len(await store_order(database, order))

    async def ask(runner: LookupRunner) -> MemoryTransport:
        transport = MemoryTransport(runner.server(), reads=False)
        await transport.feed_until_paused(request, asked)
        return transport

    async with lookup_runner(settings, direct=direct, unsent_max_bytes=3 * UNCOUNTED_BYTES) as runner:
        quick = await ask(runner)
        quick.read_on()
        slowest, slow = await ask(runner), await ask(runner)
        assert not slowest.closed
        with capture_logs() as lines:
            last = await ask(runner)
        assert [line["event"] for line in lines if line["log_level"] == "warning"] == [events.SLOW_READER_CUT_OFF]
        clients = (quick, slowest, slow, last)
        assert [each.closed for each in clients] == [False, True, False, False]
        for each in clients:
            each.close()  # the server would wait for them at its end


@pytest.mark.parametrize("seed", range(4))
async def test_random_bytes_never_make_a_server_error(settings: Settings, seed: int) -> None:
    """Requests that are cut, doubled, or have bytes replaced: refused, or hung up on, and the next one is answered."""
    random = Random(seed)
    whole = (
        b"GET /order/%2e%2e%2fetc HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"POST /order/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b'GET /../../etc/passwd?q=%00 HTTP/1.1\r\nHost: x\r\nRange: bytes=0-\r\nIf-None-Match: *, "\r\n\r\n',
        b"GET /orders?limit=1&before=%ff HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    )
    async with lookup_server(settings, head_deadline_s=0.2, keepalive_s=0.2) as server:
        for _ in range(10):
            answers = await asyncio.gather(*(exchange(server.port, _spoilt(random, whole)) for _ in range(20)))
            for answer in answers:
                assert not answer or answer.split(b" ", 2)[1] < b"500", answer
            async with server.client.get("/livez") as answer:
                assert answer.status == 200


def _spoilt(random: Random, requests: tuple[bytes, ...]) -> bytes:
    request = bytearray(random.choice(requests))
    for _ in range(random.randint(0, 6)):
        match random.randint(0, 3):
            case 0:
                request[random.randrange(len(request))] = random.randrange(256)
            case 1:
                del request[random.randrange(len(request)) + 1 :]
            case 2:
                at = random.randrange(len(request))
                request[at:at] = random.randbytes(random.randint(1, 2000))
            case _:
                request += random.choice(requests)
    return bytes(request)
