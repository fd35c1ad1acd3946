"""Who else may read the answers: the headers that tell browsers, whichever way a request is answered."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from yarl import URL

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.lookup_server import LookupServer, both_ways, lookup_server
from tests.support.programs import Programs
from tests.support.raw_http import exchange
from tests.support.stored_orders import make_order, store_order

NAMED = "https://shop.example"
PREFLIGHT = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "traceparent"}
READABLE = {
    "Access-Control-Allow-Origin": NAMED,
    "Access-Control-Expose-Headers": "X-Cache, Server-Timing, Retry-After",
    "Vary": "Origin",
}
ALLOWED = {
    **READABLE,
    "Access-Control-Allow-Methods": "GET",
    "Access-Control-Allow-Headers": "traceparent, tracestate",
    "Access-Control-Max-Age": "600",
}


@pytest.fixture
async def server(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[LookupServer]:
    direct = getattr(request, "param", True)
    async with lookup_server(settings, cors_origins=(NAMED, "http://localhost:3000"), direct=direct) as running:
        yield running


async def told(
    server: LookupServer, path: str, origin: str | None = NAMED, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str]]:
    """Return the status, and the headers that tell browsers of other origins."""
    sent = headers if origin is None else {"Origin": origin, **headers}
    async with server.client.request(method, URL(path, encoded=True), headers=sent) as answer:
        found = {name: value for name, value in answer.headers.items() if name.startswith("Access") or name == "Vary"}
        return answer.status, found


@both_ways
async def test_a_named_origin_may_read_answers_and_errors(server: LookupServer, database: asyncpg.Connection) -> None:
    """All that a GET is answered with; others are told that the answer is not for them, and caches too."""
    uid = make_order(OrderGenerator(71))
    await store_order(database, uid)
    for path, status in (
        (f"/order/{uid.order_uid}", 200),
        ("/order/nobody", 404),
        ("/order/a%00", 400),
        ("/orders", 200),
        ("/orders?limit=0", 400),
        (f"/order/{uid.order_uid}/story", 200),
        ("/", 200),
        ("/livez", 200),
        ("/nowhere", 404),
    ):
        assert await told(server, path) == (status, READABLE), path
        for origin in (None, "https://other.example", "null", f"{NAMED}.evil.example", NAMED.upper()):
            assert await told(server, path, origin) == (status, {"Vary": "Origin"}), (path, origin)
    await server.postgres.shut()
    await server.redis.shut()
    assert await told(server, "/order/nobody") == (503, READABLE)


async def test_an_overloaded_server_may_be_told_apart(settings: Settings) -> None:
    """The refusal, too, can be read."""
    async with lookup_server(settings, cors_origins=(NAMED,), max_requests=0) as server:
        assert await told(server, "/order/nobody") == (503, READABLE)


@both_ways
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/dead-letters", 200),
        ("GET", "/dead-letters/list", 200),
        ("GET", "/dead-letters/counts", 200),
        ("GET", "/%64ead-letters/list", 200),
        ("GET", "/dead-letters/0/1", 404),
        ("GET", "/dead-letters/nothing", 404),
        ("POST", "/dead-letters/replay", 403),
        ("HEAD", "/order/nobody", 404),
        ("POST", "/order/nobody", 405),
        ("GET", "/%64ead-letters/nothing", 404),
        ("GET", "/dead-letters/replay", 405),
        ("POST", "/nowhere", 404),
    ],
)
async def test_nothing_else_may_be_read(server: LookupServer, method: str, path: str, status: int) -> None:
    """No dead letter, however its path is written; no other method."""
    assert await told(server, path, method=method) == (status, {})


@pytest.mark.parametrize("path", ["/order/nobody", "/orders?limit=0", "/operations/events", "/", "/nowhere"])
async def test_a_page_may_ask_whether_it_may_send_headers_of_its_own(server: LookupServer, path: str) -> None:
    """Those of a trace, with GET."""
    assert await told(server, path, method="OPTIONS", **PREFLIGHT) == (204, ALLOWED)


@pytest.mark.parametrize(
    ("path", "origin", "asked", "status"),
    [
        ("/order/nobody", "https://other.example", "GET", 405),
        ("/order/nobody", None, "GET", 405),
        ("/order/nobody", NAMED, "POST", 405),
        ("/order/nobody", NAMED, None, 405),
        ("/dead-letters/list", NAMED, "GET", 405),
        ("/%64ead-letters/list", NAMED, "GET", 405),
        ("/dead-letters/replay", NAMED, "POST", 405),
        ("/dead-letters/nothing", NAMED, "GET", 404),
        ("/nowhere", NAMED, "POST", 404),
    ],
)
async def test_every_other_question_is_answered_as_without_cors(
    server: LookupServer, path: str, origin: str | None, asked: str | None, status: int
) -> None:
    headers = {} if asked is None else {"Access-Control-Request-Method": asked}
    assert await told(server, path, origin, "OPTIONS", **headers) == (status, {})


async def test_by_default_nobody_else_may_read_anything(settings: Settings) -> None:
    """And no answer says that it depends on the origin."""
    async with lookup_server(settings) as server:
        for path, status in (("/order/nobody", 404), ("/orders", 200), ("/dead-letters/list", 200)):
            assert await told(server, path) == (status, {})
        assert await told(server, "/order/nobody", method="OPTIONS", **PREFLIGHT) == (405, {})


async def test_the_settings_reach_the_server(orderflow: Programs, settings: Settings) -> None:
    """The origins, and the time for which an idle connection is kept: the server then closes it."""
    server = await orderflow.start("serve", HTTP_CORS_ORIGINS=NAMED, HTTP_KEEPALIVE_S="1")
    await server.wait_for("http_listening")
    request = f"GET /order/nobody HTTP/1.1\r\nHost: x\r\nOrigin: {NAMED}\r\n\r\n".encode()
    assert f"\r\nAccess-Control-Allow-Origin: {NAMED}\r\n".encode() in await exchange(
        settings.http_address.port, request
    )


async def test_a_bad_origin_ends_the_start(orderflow: Programs) -> None:
    """Exit code 3, and one line that says what is allowed."""
    for value in ("*", "shop.example", "https://u:swordfish@shop.example/"):
        ended = await orderflow.run("serve", HTTP_CORS_ORIGINS=value)
        assert ended.returncode == 3
        assert "HTTP_CORS_ORIGINS must be a comma-separated list of origins" in ended.stderr.splitlines()[-1]
        assert "swordfish" not in ended.stderr
