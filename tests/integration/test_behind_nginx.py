"""Everything through nginx as Debian installs it, with the configurations that docs/proxy.md shows."""

import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import asyncpg
import attrs
import pytest
from aiohttp import ClientSession, ClientTimeout
from msgspec import json
from yarl import URL

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.lookup_server import lookup_server
from tests.support.nginx import COMPRESSING, DOCUMENTED, own_nginx
from tests.support.stored_orders import make_order, store_order

SIMPLE, PREFIXED = DOCUMENTED
WAYS = {"simple": (SIMPLE, "", ""), "prefixed": (PREFIXED, "/shop", ""), "compressed": (PREFIXED, "/shop", COMPRESSING)}
EVENTS = 3
SOON_S = 3.0
UIDS = ("plain", "a/b", "../etc", "a b", "100%", "%2F", "{x}", "?q=1#f", "заказ", "a+b", "//a")


@attrs.frozen
class Proxy:
    """nginx in front of a server: a client of it, and the prefix of its paths."""

    client: ClientSession
    prefix: str
    compresses: bool

    def url(self, path: str) -> URL:
        return URL(self.prefix + path, encoded=True)


@pytest.fixture(params=WAYS)
async def proxy(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Proxy]:
    site, prefix, more = WAYS[request.param]
    async with lookup_server(settings) as server, own_nginx(tmp_path, server.port, site, more) as url:
        accepts = {"Accept-Encoding": "gzip"}
        async with ClientSession(
            url, timeout=ClientTimeout(total=20), headers=accepts, auto_decompress=False
        ) as client:
            yield Proxy(client, prefix, compresses=bool(more))


def unpacked(body: bytes) -> bytes:
    return zlib.decompress(body, wbits=zlib.MAX_WBITS | 16)


async def test_live_updates_arrive_at_once(proxy: Proxy) -> None:
    """One by one, soon after each was made: nothing on the way waits for more of them."""
    packed = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    received, seen = b"", 0
    async with proxy.client.get(proxy.url("/operations/events")) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")
        assert answer.headers.get("Content-Encoding") == ("gzip" if proxy.compresses else None)
        async for chunk in answer.content.iter_any():
            received += packed.decompress(chunk) if proxy.compresses else chunk
            *events, received = received.split(b"\n\n")
            for event in events:
                if event.startswith(b"data: "):
                    at = datetime.fromisoformat(json.decode(event.removeprefix(b"data: "))["at"])
                    assert (datetime.now(UTC) - at).total_seconds() < SOON_S
                    seen += 1
            if seen >= EVENTS:
                break
    assert seen >= EVENTS


async def test_any_uid_can_be_asked_for(proxy: Proxy, database: asyncpg.Connection) -> None:
    """With its slashes and percent signs, and the answer has the same bytes."""
    for uid in UIDS:
        body = await store_order(database, make_order(OrderGenerator(4), order_uid=uid))
        async with proxy.client.get(proxy.url(f"/order/{quote(uid, safe='').replace('.', '%2E')}")) as answer:
            assert (answer.status, answer.headers["X-Cache"]) == (200, "miss"), uid
            received = await answer.read()
            assert (unpacked(received) if proxy.compresses else received) == body


async def test_a_browser_that_has_a_file_is_not_sent_it_again(proxy: Proxy) -> None:
    """Also if the proxy has compressed it, and so made its ETag a weak one."""
    path = proxy.url("/ui/orders/main.js")
    async with proxy.client.get(path) as answer:
        etag = answer.headers["ETag"]
        assert etag.startswith("W/") is proxy.compresses
    async with proxy.client.get(path, headers={"If-None-Match": etag}) as answer:
        assert answer.status == 304


async def test_lists_errors_and_the_page_pass(proxy: Proxy) -> None:
    """The query reaches the server as it was sent."""
    for path, status in (("/", 200), ("/orders?limit=0", 400), ("/orders?track_number=a%26b", 200), ("/nowhere", 404)):
        async with proxy.client.get(proxy.url(path)) as answer:
            assert answer.status == status, path


async def test_the_prefix_without_its_slash_is_redirected(proxy: Proxy) -> None:
    """Relative addresses need the slash."""
    if not proxy.prefix:
        return
    async with proxy.client.get(URL(proxy.prefix), allow_redirects=False) as answer:
        assert answer.status == 301
        assert answer.headers["Location"].endswith(f"{proxy.prefix}/")
