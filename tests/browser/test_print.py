"""The pages as a real browser prints them."""

import re

import asyncpg
from msgspec.structs import replace
from playwright.async_api import Browser, Page, expect

from orderflow.publishing.orders import OrderGenerator
from tests.support.lookup_server import LookupServer, address
from tests.support.many_orders import store_many
from tests.support.stored_orders import make_order, store_order

_SHOWN = "element => getComputedStyle(element).display"


async def printed_pages(page: Page) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", await page.pdf(format="A4")))


async def test_an_order_and_a_list_are_printed_on_one_page(
    browser: Browser, server: LookupServer, database: asyncpg.Connection
) -> None:
    """Without navigation, fields and buttons, and dark on white for a reader of the dark theme too."""
    order = make_order(OrderGenerator(71), order_uid="printed")
    items = [replace(order.items[0], rid=f"rid-{number}") for number in range(8)]
    await store_order(database, replace(order, items=items))
    await store_many(database, "o-", 20)
    context = await browser.new_context(color_scheme="dark", locale="en-US")
    page = await context.new_page()
    for path in ("/?order=printed", "/"):
        await page.goto(address(server, path))
        await expect(page.locator("#result")).to_contain_text("printed")
        await expect(page.locator(".bone")).to_have_count(0)
        assert await printed_pages(page) == 1
        await page.emulate_media(media="print")
        for hidden in ("navigation", "textbox", "button"):
            await expect(page.get_by_role(hidden)).to_have_count(0)  # type: ignore[arg-type]
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        await page.emulate_media(media="null")
    await context.close()


async def test_many_items_are_printed_with_their_head_on_each_page(
    page: Page, server: LookupServer, database: asyncpg.Connection
) -> None:
    """On as many pages as they need, their sum once, and no row cut in two."""
    order = make_order(OrderGenerator(72), order_uid="many")
    items = [replace(order.items[0], rid=f"rid-{number}") for number in range(300)]
    await store_order(database, replace(order, items=items))
    await page.goto(address(server, "/?order=many"))
    await expect(page.locator("tbody tr")).to_have_count(300)
    assert 7 <= await printed_pages(page) <= 12
    await page.emulate_media(media="print")
    assert await page.locator("thead").evaluate(_SHOWN) == "table-header-group"
    assert await page.locator("tfoot").evaluate(_SHOWN) == "table-row-group"
    row = page.locator("tbody tr").first
    assert await row.evaluate("row => getComputedStyle(row).breakInside") == "avoid"
