"""What the HTTP application answers while all is well."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

import asyncpg
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from yarl import URL

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.lookup_server import LookupServer, both_ways, lookup_server
from tests.support.raw_http import exchange
from tests.support.stored_orders import make_order, store_order

HEAD_DEADLINE_S = 0.6


@pytest.fixture
async def server(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[LookupServer]:
    direct = getattr(request, "param", True)
    async with lookup_server(settings, head_deadline_s=HEAD_DEADLINE_S, direct=direct) as running:
        yield running


def path_of(order_uid: str) -> URL:
    return URL(f"/order/{quote(order_uid, safe='')}", encoded=True)


async def until_cached(redis: Redis, order_uid: str) -> bytes:
    async with asyncio.timeout(5):
        while True:
            body = await redis.get(f"order:{order_uid}")
            if body is not None:
                assert isinstance(body, bytes)
                return body
            await asyncio.sleep(0.005)


@both_ways
async def test_a_miss_and_a_hit_answer_the_same_bytes(
    server: LookupServer, database: asyncpg.Connection, redis: Redis
) -> None:
    """The order comes from PostgreSQL first and from Redis afterwards, byte for byte the same."""
    order = make_order(OrderGenerator(1))
    body = await store_order(database, order)

    async with server.client.get(path_of(order.order_uid)) as first:
        assert (first.status, first.headers["X-Cache"], await first.read()) == (200, "miss", body)
        assert first.headers["Content-Type"] == "application/json"
        assert first.headers["Server-Timing"].startswith("total;dur=")
    assert await until_cached(redis, order.order_uid) == body
    assert 0 < await redis.ttl(f"order:{order.order_uid}") <= 3600
    async with server.client.get(path_of(order.order_uid)) as second:
        assert (second.status, second.headers["X-Cache"], await second.read()) == (200, "hit", body)


async def test_head_answers_without_a_body(server: LookupServer, database: asyncpg.Connection) -> None:
    """HEAD tells the length of the order and sends nothing of it."""
    order = make_order(OrderGenerator(2))
    body = await store_order(database, order)
    async with server.client.head(path_of(order.order_uid)) as answer:
        assert (answer.status, int(answer.headers["Content-Length"])) == (200, len(body))
        assert await answer.read() == b""


@both_ways
async def test_an_unknown_order_is_not_found(server: LookupServer, database: asyncpg.Connection) -> None:
    """A uid that nobody published is 404, and 200 as soon as the order is there."""
    order = make_order(OrderGenerator(3))
    async with server.client.get(path_of(order.order_uid)) as answer:
        assert (answer.status, await answer.read()) == (404, b'{"error":"order_not_found"}')
        assert "X-Cache" not in answer.headers
    body = await store_order(database, order)
    async with server.client.get(path_of(order.order_uid)) as answer:
        assert (answer.status, await answer.read()) == (200, body)


@pytest.mark.parametrize(
    ("encoded", "status"),
    [("a" * 512, 404), ("a" * 513, 400), ("%D0%B6" * 256, 404), ("%D0%B6" * 257, 400), ("a%00b", 400), ("%FF", 400)],
)
async def test_a_uid_that_no_order_can_have_is_refused(server: LookupServer, encoded: str, status: int) -> None:
    """At most 512 bytes of UTF-8, without NUL."""
    async with server.client.get(URL(f"/order/{encoded}", encoded=True)) as answer:
        assert answer.status == status


@pytest.mark.parametrize(
    "order_uid", ["a/b", "../../etc", "a b", "100%", "%2F", "{x}", "?q=1#f", "заказ-1", "a+b", "."]
)
async def test_any_uid_can_be_asked_for(server: LookupServer, database: asyncpg.Connection, order_uid: str) -> None:
    """Percent-encoding carries slashes, braces, spaces and other scripts."""
    body = await store_order(database, make_order(OrderGenerator(4), order_uid=order_uid))
    encoded = quote(order_uid, safe="").replace(".", "%2E")
    async with server.client.get(URL(f"/order/{encoded}", encoded=True)) as answer:
        assert (answer.status, await answer.read()) == (200, body)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/ui/orders/main.js", 200),
        ("GET", "/order/unknown", 404),
        ("GET", "/order/a%00", 400),
        ("GET", "/nowhere", 404),
        ("GET", "/order/", 404),
        ("POST", "/order/x", 405),
        ("GET", "/livez", 200),
        ("GET", "/readyz", 200),
        ("GET", "/healthz", 503),
    ],
)
async def test_every_answer_carries_the_security_headers(
    server: LookupServer, method: str, path: str, status: int
) -> None:
    """No route, and no missing route, answers without them; errors are JSON."""
    async with server.client.request(method, URL(path, encoded=True)) as answer:
        assert answer.status == status
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert "aiohttp" not in answer.headers["Server"]
        if status in {400, 404, 405}:
            assert set(await answer.json()) == ({"error"} if status == 404 else {"error", "allowed"})


@pytest.mark.parametrize(
    "request_head",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /order/" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 10_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nExpect: the-unexpected\r\nConnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["nonsense", "long-line", "long-header", "many-headers", "expectation", "tls"],
)
async def test_a_broken_request_is_answered_like_every_other_error(server: LookupServer, request_head: bytes) -> None:
    """What never reaches a route is refused as JSON, with the same headers, and is logged."""
    with capture_logs() as lines:
        answer = await exchange(server.port, request_head)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b" ", 2)[1] in {b"400", b"417"}, answer
    assert b"X-Content-Type-Options: nosniff" in head
    assert body.startswith(b'{"error":')
    assert [line["event"] for line in lines] == ["http_request"]


@both_ways
@pytest.mark.parametrize("path", [b"/order/nobody", b"/livez", b"/healthz"])
async def test_a_client_that_ends_its_side_after_its_request_is_answered(server: LookupServer, path: bytes) -> None:
    """As `nc -N` does; the connection is then closed."""
    answer = await exchange(server.port, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n", ends=True)
    assert answer.startswith(b"HTTP/1.1 ")
    assert answer.endswith(b"}")
    assert await exchange(server.port, b"", ends=True) == await exchange(server.port, b"GET /li", ends=True) == b""


async def test_lookups_behind_each_other_are_answered_to_a_client_that_ends_its_side(server: LookupServer) -> None:
    """The connection is closed after them, whatever is behind them."""
    lookup = b"GET /order/nobody HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await exchange(server.port, lookup * 40, ends=True)
    assert answer.count(b"order_not_found") == 40
    answer = await exchange(server.port, lookup * 2 + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", ends=True)
    assert answer.count(b"order_not_found") == 2
    assert answer.endswith(b'{"status":"ok"}')
    assert (await exchange(server.port, lookup * 2 + b"GET /li", ends=True)).count(b"order_not_found") == 2


@both_ways
@pytest.mark.parametrize("version", [b"0.9", b"2.0"])
@pytest.mark.parametrize("path", [b"/order/nobody", b"/livez"])
async def test_a_version_that_is_not_spoken_here_is_refused(server: LookupServer, path: bytes, version: bytes) -> None:
    """It is not repeated, as if the answer were of that version."""
    answer = await exchange(server.port, b"GET " + path + b" HTTP/" + version + b"\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 505 ")
    assert answer.endswith(b'{"error":"http_version_not_supported","allowed":"HTTP/1.1"}')


async def test_a_head_that_does_not_come_to_an_end_is_cut_off(server: LookupServer) -> None:
    """Bytes that trickle in do not keep a connection alive: neither at its start nor after an answer."""
    for first in (b"", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(first)
        if first:
            await reader.readuntil(b'{"status":"ok"}')
        began = asyncio.get_running_loop().time()
        trickle = asyncio.create_task(_trickle(writer))
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        assert HEAD_DEADLINE_S * 0.8 < asyncio.get_running_loop().time() - began < HEAD_DEADLINE_S + 1
        trickle.cancel()
        writer.close()


async def _trickle(writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /livez HTTP/1.1\r\nX-Slow: ")
    while True:
        writer.write(b"a")
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "path", ["/ui/../pyproject.toml", "/ui/%2e%2e/pyproject.toml", "/ui//etc/passwd", "/..%2fpyproject.toml", "/ui/"]
)
async def test_no_file_outside_the_page_can_be_reached(server: LookupServer, path: str) -> None:
    """Only the files that were read at start have a route."""
    answer = await exchange(server.port, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_a_browser_that_has_a_file_is_not_sent_it_again(server: LookupServer) -> None:
    """The ETag of a file is answered with 304."""
    async with server.client.get("/ui/orders/main.js") as answer:
        assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
        etag = answer.headers["ETag"]
    async with server.client.get("/ui/orders/main.js", headers={"If-None-Match": etag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@both_ways
async def test_one_access_line_a_request_without_personal_data(
    server: LookupServer, database: asyncpg.Connection
) -> None:
    """The line names the route, not the query; nothing of the recipient is in it."""
    order = make_order(OrderGenerator(6))
    await store_order(database, order)
    with capture_logs() as lines:
        async with server.client.get(path_of(order.order_uid).with_query(phone="+70000000000")) as answer:
            await answer.read()
        async with server.client.get("/somebody@example.com") as answer:
            await answer.read()
    lines = [line for line in lines if line["event"] == "http_request"]
    assert lines[0] == {
        "event": "http_request",
        "log_level": "info",
        "method": "GET",
        "route": "/order/{order_uid}",
        "status": 200,
        "duration_ms": lines[0]["duration_ms"],
        "order_uid": order.order_uid,
        "x_cache": "miss",
    }
    assert 0 < lines[0]["duration_ms"] < 10_000
    assert (lines[1]["route"], lines[1]["status"]) == ("-", 404)
    text = str(lines)
    assert not [value for value in (order.delivery.phone, order.delivery.email, "+7000", "somebody") if value in text]
