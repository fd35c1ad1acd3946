"""The pages under a path prefix, through nginx, in a real browser."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from playwright.async_api import Locator, Page, expect

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.letters import store_letter
from tests.support.lookup_server import lookup_server
from tests.support.nginx import COMPRESSING, DOCUMENTED, own_nginx
from tests.support.stored_orders import make_order, store_order


@pytest.fixture(params=["", pytest.param(COMPRESSING, marks=pytest.mark.long)], ids=["as-documented", "compressed"])
async def url(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest, page: Page) -> AsyncIterator[str]:
    """Provide the address of the pages. A request of theirs that leaves the prefix fails the test."""
    async with lookup_server(settings) as server, own_nginx(tmp_path, server.port, DOCUMENTED[1], request.param) as url:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        yield f"{url}/shop/"
        assert asked
        assert [address for address in asked if not address.startswith(f"{url}/shop/")] == []


def line(page: Page) -> Locator:
    return page.get_by_role("listitem").get_by_role("link").first


async def test_every_page_works_under_a_prefix(
    url: str, page: Page, settings: Settings, database: asyncpg.Connection
) -> None:
    """From page to page by links, within a page without loading it again, and back; forms; live updates."""
    order = make_order(OrderGenerator(61), order_uid="a/b")
    await store_order(database, order)
    await store_letter(database, settings, partition=2, kafka_offset=57, subject="a/b")

    await page.goto(url)
    await page.evaluate("window.loadedOnce = true")
    await line(page).click()
    await expect(page.get_by_role("article")).to_contain_text(order.track_number)
    await expect(page).to_have_url(f"{url}?order=a%2Fb")
    await page.go_back()
    await expect(line(page)).to_be_focused()
    await page.get_by_role("textbox").first.fill(order.customer_id)
    await page.get_by_role("button", name="Get order").click()
    await expect(page).to_have_url(re.compile(r"/shop/\?q="))
    await line(page).click()
    assert await page.evaluate("window.loadedOnce") is True
    await page.get_by_role("link", name="2:57").click()
    await expect(page).to_have_url(f"{url}dead-letters?letter=2:57")
    await expect(page.locator("#result")).to_contain_text("a/b")

    await page.evaluate("window.loadedOnce = true")
    await page.locator("a.back").click()
    await expect(page).to_have_url(f"{url}dead-letters")
    await page.get_by_label("Order uid").fill("nobody")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{url}dead-letters?order_uid=nobody")
    assert await page.evaluate("window.loadedOnce") is True

    await page.get_by_role("link", name="Operations").click()
    await expect(page).to_have_url(f"{url}operations")
    live = page.locator("#live")
    await expect(live).to_contain_text("Live as of")
    first = await live.text_content()
    await expect(live).not_to_have_text(str(first))
    await expect(live).to_contain_text("Live as of")
    await page.get_by_role("link", name="orderflow").click()
    await expect(page).to_have_url(url)
