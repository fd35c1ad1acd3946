"""Values that are valid and wrong, on the pages in a real browser: times in another unit, not set, or in the future."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from msgspec.structs import replace
from playwright.async_api import Browser, Locator, Page, expect

from handlers.model import Order, UtcTime
from handlers.times import render_utc
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.letters import store_letter
from tests.support.lookup_server import LookupServer, address
from tests.support.stored_orders import make_order, store_order

LAST_YEAR = UtcTime("9999-12-31T23:59:59Z")


def lines(page: Page) -> Locator:
    return page.get_by_role("listitem").get_by_role("link")


def dated(uid: str, paid: int = 1_637_907_727, **changes: str) -> Order:
    order = make_order(OrderGenerator(61), order_uid=uid, **changes)
    return replace(order, payment=replace(order.payment, payment_dt=paid))


@pytest.mark.parametrize(
    ("paid", "note"),
    [
        (1_637_907_727, None),
        (1_637_907_727_000, "in the year 53873: looks like milliseconds"),
        (1_637_907_727_000_000, ": looks like microseconds"),
        (1, "in the year 1970"),
        (4_000_000_000, "dated in the future"),
        (2**63 - 1, "in the year 292277026596"),
    ],
)
async def test_a_time_of_payment_in_another_unit_is_marked(
    page: Page, server: LookupServer, database: asyncpg.Connection, paid: int, note: str | None
) -> None:
    """It is shown as the number that was sent, of which nobody is told a date."""
    await store_order(database, dated("uid", paid))
    await page.goto(address(server, "/?order=uid"))
    shown = page.locator(".facts div").filter(has_text="Paid")
    await expect(shown).to_contain_text("Nov 26, 2021" if note is None else note)
    await expect(shown.locator(".odd-note")).to_have_count(0 if note is None else 1)
    if note is not None and "future" not in note:
        await expect(shown).to_contain_text(str(paid))


async def test_a_date_that_was_not_set_is_marked(
    browser: Browser, server: LookupServer, database: asyncpg.Connection
) -> None:
    """Wherever the reader is, as it was sent: west of London the zero time is of the year before year 1."""
    await store_order(database, dated("zero", customer_id="c"))
    await database.execute("UPDATE orders SET date_created = '0001-01-01T00:00:00Z'")
    context = await browser.new_context(locale="ru-RU", timezone_id="America/New_York")
    page = await context.new_page()
    for path, place in (("/?order=zero", ".facts"), ("/?q=c", ".line"), ("/", ".line")):
        await page.goto(address(server, path))
        shown = page.locator("#result").locator(place).filter(has_text="0001-01-01T00:00:00Z")
        await expect(shown).to_contain_text("нулевое время Go и .NET: время не задано")
    await context.close()


async def test_orders_dated_in_the_future_have_a_list_of_their_own(
    page: Page, server: LookupServer, database: asyncpg.Connection
) -> None:
    """Each list tells how many it leaves out, and leads to them."""
    soon = render_utc(datetime.now(UTC) + timedelta(hours=23))
    for order in (
        dated("usual", date_created=soon, customer_id="one"),
        dated("wrong", date_created=LAST_YEAR, customer_id="one"),
        dated("wrong too", date_created=LAST_YEAR, customer_id="another"),
    ):
        await store_order(database, order)
    for path, uids, left_out, title, future in (
        ("/", ["usual"], "2 orders are dated in the future", "Orders dated in the future", ["wrong too", "wrong"]),
        (
            "/?q=one",
            ["usual"],
            "1 order is dated in the future",
            "Orders dated in the future of customer one",
            ["wrong"],
        ),
        ("/?q=another", [], "1 order is dated in the future", "in the future of customer another", ["wrong too"]),
    ):
        await page.goto(address(server, path))
        await expect(lines(page).locator(".line-uid")).to_have_text(uids)
        await page.get_by_role("link", name=left_out).click()
        await expect(page.get_by_role("heading", name=title)).to_be_visible()
        await expect(lines(page).locator(".line-uid")).to_have_text(future)
        await expect(lines(page).first).to_contain_text("dated in the future")
        await expect(page.locator(".list-future")).to_have_count(0)
    await page.reload()
    await expect(lines(page)).to_have_count(1)
    await lines(page).click()
    await expect(page.get_by_role("article")).to_contain_text("dated in the future")


async def test_without_orders_dated_in_the_future_their_list_says_so(page: Page, server: LookupServer) -> None:
    await page.goto(address(server, "/?dated=future"))
    await expect(page.get_by_role("heading", name="No orders are dated in the future")).to_be_visible()
    await page.get_by_role("link", name="Recent orders").click()
    await expect(page.get_by_role("heading", name="No orders yet")).to_be_visible()


async def test_the_time_of_a_message_is_unknown_or_marked(
    page: Page, server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """A producer that sends no time, or seconds for milliseconds."""
    unknown, seconds = datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC), datetime(1970, 1, 19, 23, tzinfo=UTC)
    for offset, produced_at in enumerate((unknown, seconds)):
        await store_letter(database, settings, kafka_offset=offset, produced_at=produced_at)
    for offset, told in enumerate(("unknown", "in the year 1970: looks like seconds")):
        await page.goto(address(server, f"/dead-letters?letter=0:{offset}"))
        await expect(page.locator(".facts div").filter(has_text="Produced")).to_contain_text(told)
