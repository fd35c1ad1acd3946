"""The pages by the rules of axe (WCAG 2.1, levels A and AA, and good practice), in every state and both themes."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import asyncpg
import pytest
from axe_playwright_python.async_playwright import Axe
from msgspec.structs import replace
from playwright.async_api import Browser, Page, expect

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import consumed
from tests.support.lookup_server import LookupServer
from tests.support.many_orders import store_many
from tests.support.programs import Programs
from tests.support.stored_orders import make_order, store_order

WIDTHS = (1280, 390)
SCHEMES: Mapping[Literal["light", "dark"], dict[str, Any]] = {"light": {}, "dark": {"runOnly": ["cat.color"]}}


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context(locale="en-US", reduced_motion="reduce")
    yield await context.new_page()
    await context.close()


async def assert_accessible(page: Page) -> None:
    """Fail with axe's report of what breaks a rule, on a wide screen and on a phone, in the light scheme and the dark.

    The dark scheme differs from the light one only in its colours, so only the rules for colours are checked there.
    """
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 900})
        for scheme, rules in SCHEMES.items():
            await page.emulate_media(color_scheme=scheme)
            found = await Axe().run(page, options=rules)
            assert found.violations_count == 0, f"{scheme}, {width} px: {found.generate_report()}"


async def test_the_lookup_is_accessible(page: Page, server: LookupServer, database: asyncpg.Connection) -> None:
    """While there is nothing, with a list, an order, no such order, an impossible uid, odd values, and an outage."""
    root = f"http://127.0.0.1:{server.port}"
    await page.goto(root)
    await expect(page.locator("#result").get_by_text("No orders yet")).to_be_visible()
    await assert_accessible(page)

    order = make_order(OrderGenerator(8))
    await store_order(database, order)
    await store_many(database, "many-", 30)
    odd = make_order(OrderGenerator(9), order_uid="o\u202edd ", date_created="9999-12-31T23:59:59Z")
    await store_order(database, replace(odd, payment=replace(odd.payment, payment_dt=1637907727000)))
    for path, shown in (
        ("/", "Recent orders"),
        (f"/?order={order.order_uid}", order.delivery.name),
        ("/?order=nobody", "No order with this uid"),
        (f"/?order={'x' * 600}", "No order can have this uid"),
        ("/?order=o%E2%80%AEdd%20", "looks like milliseconds"),
        ("/?dated=future", "dated in the future"),
    ):
        await page.goto(f"{root}{path}")
        await expect(page.locator("#result").get_by_text(shown).first).to_be_visible()
        await assert_accessible(page)

    await server.postgres.shut()
    await page.goto(root)
    await expect(page.locator("#result").get_by_text("cannot be listed right now")).to_be_visible()
    await assert_accessible(page)


async def test_the_operations_are_accessible(
    page: Page, server: LookupServer, orderflow: Programs, settings: Settings
) -> None:
    """Before any worker has reported, with workers at work, and while the server is away."""
    await page.goto(f"http://127.0.0.1:{server.port}/operations")
    await expect(page.get_by_text("orderflow engine").first).to_be_visible()
    await assert_accessible(page)

    engine = await orderflow.start("engine", "--workers", "2")
    await engine.wait_for("partition_opened", count=4)
    await orderflow.run("publish", "50", "--invalid", "0.2")
    await expect(page.get_by_text("worker-1").first).to_be_visible()
    await assert_accessible(page)

    await page.context.set_offline(True)
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # begins a stream anew
    await expect(page.get_by_text("Unknown").first).to_be_visible()
    await assert_accessible(page)


async def test_the_dead_letters_are_accessible(
    page: Page, server: LookupServer, orderflow: Programs, database: asyncpg.Connection
) -> None:
    """Before there are any, the list, and one letter with its errors at their places."""
    root = f"http://127.0.0.1:{server.port}/dead-letters"
    await page.goto(root)
    await expect(page.locator("main")).to_contain_text("No dead letters")
    await assert_accessible(page)

    await orderflow.start("engine", "--workers", "1")
    await orderflow.run("publish", "20", "--invalid", "1", "--seed", "3")
    await consumed(database, 20)
    await page.goto(root)
    await expect(page.get_by_role("link", name=":").first).to_be_visible()
    await assert_accessible(page)
    row = await database.fetchrow("SELECT partition, kafka_offset FROM dead_letters WHERE reason = 'invalid_order'")
    await page.goto(f"{root}?letter={row['partition']}:{row['kafka_offset']}")
    await expect(page.get_by_role("article")).to_be_visible()
    await assert_accessible(page)
