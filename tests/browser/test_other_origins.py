"""Pages of other origins in a real browser: who is named in HTTP_CORS_ORIGINS reads orders, and nobody dead letters."""

from collections.abc import AsyncIterator

import asyncpg
import attrs
import pytest
from aiohttp import web
from playwright.async_api import Page

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.letters import store_letter
from tests.support.lookup_server import lookup_server
from tests.support.stored_orders import make_order, store_order

ASK = """async ([address, options]) => {
  try {
    const answer = await fetch(address, options);
    return [answer.status, answer.headers.get("X-Cache"), (await answer.text()).length];
  } catch { return null; }
}"""
EVENT = """address => new Promise(resolve => {
  const source = new EventSource(address);
  source.onmessage = () => { source.close(); resolve(true); };
  source.onerror = () => { source.close(); resolve(false); };
})"""


@attrs.frozen
class Origins:
    """The address of the server, and of one empty page under two origins, of which the server names one."""

    server: str
    named: str
    other: str


async def empty_page(_request: web.Request) -> web.Response:
    return web.Response(text="<!doctype html>", content_type="text/html")


@pytest.fixture
async def origins(settings: Settings) -> AsyncIterator[Origins]:
    application = web.Application()
    application.router.add_get("/", empty_page)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        named = f"http://127.0.0.1:{site.port}"
        async with lookup_server(settings, cors_origins=(named,), admin_token="t") as server:
            yield Origins(f"http://127.0.0.1:{server.port}", named, f"http://localhost:{site.port}")
    finally:
        await runner.cleanup()


async def test_a_named_origin_reads_orders_and_no_dead_letters(
    page: Page, origins: Origins, settings: Settings, database: asyncpg.Connection
) -> None:
    """With a header that needs a preflight, too; errors can be told apart; writing is not allowed."""
    order = make_order(OrderGenerator(62))
    size = len((await store_order(database, order)).decode())
    await store_letter(database, settings, partition=2, kafka_offset=57)
    base = origins.server
    traced = {"headers": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
    authorized = {"headers": {"Authorization": "Bearer t"}}
    await page.goto(origins.named)

    async def ask(path: str, **options: object) -> list[object] | None:
        found: list[object] | None = await page.evaluate(ASK, [base + path, options])
        return found

    assert await ask(f"/order/{order.order_uid}") == [200, "miss", size]
    assert (await ask(f"/order/{order.order_uid}", **traced) or [])[0] == 200
    assert (await ask("/order/nobody") or [])[:2] == [404, None]
    assert (await ask("/orders?limit=0") or [])[0] == 400
    assert await page.evaluate(EVENT, f"{base}/operations/events") is True
    assert await ask(f"/order/{order.order_uid}", credentials="include") is None
    assert await ask(f"/order/{order.order_uid}", **authorized) is None
    for path in ("/dead-letters", "/dead-letters/list", "/dead-letters/2/57", "/%64ead-letters/list"):
        assert await ask(path) is None, path
    assert await ask("/dead-letters/2/57/replay", method="POST", **authorized) is None


async def test_another_origin_reads_nothing(page: Page, origins: Origins) -> None:
    base = origins.server
    await page.goto(origins.other)
    for path in ("/order/nobody", "/orders", "/healthz", "/"):
        assert await page.evaluate(ASK, [base + path, {}]) is None, path
    assert await page.evaluate(EVENT, f"{base}/operations/events") is False
