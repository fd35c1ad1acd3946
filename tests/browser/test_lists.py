"""Recent orders and matches on the page, in a real browser, over the real application and real stores."""

import asyncio

import asyncpg
import pytest
from msgspec.structs import replace
from playwright.async_api import Browser, Locator, Page, Route, expect

from handlers.model import Order
from orderflow.publishing.orders import OrderGenerator
from tests.support.lookup_server import LookupServer, address
from tests.support.many_orders import store_many
from tests.support.stored_orders import make_order, store_order

MARKUP = '<img src=x onerror="window.injected=true">'


@pytest.fixture
async def forty_five(database: asyncpg.Connection) -> list[str]:
    """Store 45 orders of three customers in turn; provide their uids, newest first."""
    await store_many(database, "o-", 45, customers=3, items=2)
    return [f"o-{number:09}" for number in reversed(range(45))]


def field(page: Page) -> Locator:
    return page.get_by_role("textbox").first


def lines(page: Page) -> Locator:
    return page.get_by_role("listitem").get_by_role("link")


def shown_order(page: Page) -> Locator:
    return page.get_by_role("article").get_by_role("heading", level=2)


async def look_up(page: Page, typed: str) -> None:
    await field(page).fill(typed)
    await page.get_by_role("button", name="Get order").click()


async def stored_order(database: asyncpg.Connection, seed: int) -> Order:
    order = make_order(OrderGenerator(seed))
    await store_order(database, order)
    return order


async def test_the_start_page_lists_the_newest_orders(page: Page, server: LookupServer, forty_five: list[str]) -> None:
    """Page by page, each once, until there are no more; what came last is announced."""
    await page.goto(address(server))
    await expect(page.get_by_role("heading", name="Recent orders by the date they were placed")).to_be_visible()
    more = page.get_by_role("button", name="Show more")
    for shown in (20, 40, 45):
        await expect(lines(page)).to_have_count(shown)
        await expect(more).to_have_count(0 if shown == 45 else 1)
        if shown < 45:
            await more.click()
    listed = await page.locator(".lines .line-uid").all_text_contents()
    assert listed == forty_five
    await expect(page.get_by_role("status")).to_have_text("5 orders")
    for told in ("o-track-44", "customer-2", "meest", "2 items", "$44", "Jan 1, 2026"):
        await expect(lines(page).first).to_contain_text(told)


async def test_no_list_shows_who_receives_an_order(
    page: Page, server: LookupServer, database: asyncpg.Connection
) -> None:
    """Neither what is shown nor what was sent for it holds personal data."""
    order = await stored_order(database, 51)
    bodies: list[str] = []

    async def record(route: Route) -> None:
        answer = await route.fetch()
        bodies.append(await answer.text())
        await route.fulfill(response=answer)

    await page.route("**/orders*", record)
    await page.goto(address(server))
    await expect(lines(page)).to_have_count(1)
    await look_up(page, order.customer_id)
    await expect(page.get_by_role("heading", name="Orders of customer")).to_be_visible()
    seen = await page.content() + "".join(bodies)
    assert order.order_uid in seen
    personal = (order.delivery.name, order.delivery.phone, order.delivery.address, order.delivery.email)
    assert not [value for value in personal if value in seen]


async def test_the_keyboard_is_enough(page: Page, server: LookupServer, forty_five: list[str]) -> None:
    """Slash, arrows and Enter: from the field through the list into an order and back to the same line."""
    await page.goto(address(server))
    await expect(lines(page)).to_have_count(20)
    await expect(field(page)).to_be_focused()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp"):
        await page.keyboard.press(key)
    await expect(lines(page).nth(1)).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(shown_order(page)).to_contain_text(forty_five[1])
    await expect(shown_order(page)).to_be_focused()
    assert page.url.endswith(f"/?order={forty_five[1]}")

    await page.go_back()
    await expect(lines(page).nth(1)).to_be_focused()
    await page.keyboard.press("End")
    more = page.get_by_role("button", name="Show more")
    await expect(more).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(lines(page)).to_have_count(40)
    await expect(lines(page).nth(20)).to_be_focused()
    await page.keyboard.press("/")
    await expect(field(page)).to_be_focused()
    await page.keyboard.type("a/b")
    await expect(field(page)).to_have_value("a/b")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowUp")
    await expect(field(page)).to_be_focused()


@pytest.mark.parametrize("late", [False, True])
async def test_what_is_typed_right_after_loading_is_searched_for(page: Page, server: LookupServer, late: bool) -> None:
    """Slash is the key to the field until the field is in use, even before the page's script has run."""
    script = asyncio.Event()

    async def load_later(route: Route) -> None:
        await script.wait()
        await route.continue_()

    if late:
        await page.route("**/ui/orders/main.js", load_later)
    await page.goto(address(server), wait_until="commit" if late else "load")
    await expect(field(page)).to_be_focused()
    await page.keyboard.type("/ab/c")
    script.set()
    await expect(field(page)).to_have_value("ab/c")
    await expect(page.locator("#result")).to_have_attribute("aria-busy", "false")
    await expect(page.get_by_role("heading", name="No orders yet")).to_be_visible()
    await expect(field(page)).to_have_value("ab/c")
    await field(page).fill("")
    await page.keyboard.type("/x")
    await expect(field(page)).to_have_value("/x")


async def test_going_back_shows_the_list_as_it_was_left(
    page: Page, server: LookupServer, forty_five: list[str]
) -> None:
    """All pages of it, without asking for them again."""
    await page.goto(address(server))
    await page.get_by_role("button", name="Show more").click()
    await expect(lines(page)).to_have_count(40)
    await lines(page).nth(33).click()
    await expect(shown_order(page)).to_contain_text(forty_five[33])
    assert await page.evaluate("scrollY") == 0
    await page.go_back()
    await expect(lines(page)).to_have_count(40)
    await expect(lines(page).nth(33)).to_be_focused()
    await expect(lines(page).nth(33)).to_be_in_viewport()


async def test_what_is_no_uid_is_searched_for(page: Page, server: LookupServer, forty_five: list[str]) -> None:
    """A track number or a customer brings matches, whose address can be shared; Enter opens the first."""
    await page.goto(address(server))
    await look_up(page, "o-track-17")
    await expect(page.get_by_role("heading", name="Orders with track number o-track-17")).to_be_visible()
    await expect(lines(page)).to_have_count(1)
    assert page.url.endswith("/?q=o-track-17")

    await look_up(page, " customer-1 ")
    await expect(page.get_by_role("heading", name="Orders of customer customer-1")).to_be_visible()
    await expect(lines(page)).to_have_count(15)
    assert page.url.endswith("/?q=customer-1")
    await field(page).press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(shown_order(page)).to_contain_text(forty_five[1])
    await page.go_back()
    await expect(lines(page)).to_have_count(15)
    await page.go_back()
    await expect(lines(page)).to_have_count(1)
    await expect(field(page)).to_have_value("o-track-17")


async def test_a_uid_comes_before_a_match(page: Page, server: LookupServer, database: asyncpg.Connection) -> None:
    """Typed, a uid opens its order, even if it is somebody's customer too; a link to a search lists the matches."""
    generator = OrderGenerator(52)
    for order in (make_order(generator, order_uid="same"), make_order(generator, customer_id="same")):
        await store_order(database, order)
    await page.goto(address(server))
    await look_up(page, "same")
    await expect(shown_order(page)).to_contain_text("same")
    await page.goto(address(server, "/?q=same"))
    await expect(lines(page)).to_have_count(1)
    await expect(lines(page)).to_contain_text(order.order_uid)


async def test_a_link_to_a_search_opens_it(page: Page, server: LookupServer, forty_five: list[str]) -> None:
    """And one that names a uid opens the order."""
    await page.goto(address(server, "/?q=customer-2"))
    await expect(lines(page)).to_have_count(15)
    await expect(field(page)).to_have_value("customer-2")
    await page.goto(address(server, f"/?q={forty_five[3]}"))
    await expect(shown_order(page)).to_contain_text(forty_five[3])
    assert page.url.endswith(f"/?order={forty_five[3]}")


async def test_an_order_leads_to_the_others_of_its_customer(
    page: Page, server: LookupServer, forty_five: list[str]
) -> None:
    """Its customer and its track number are links."""
    await page.goto(address(server, f"/?order={forty_five[0]}"))
    await page.get_by_role("link", name="customer-2").click()
    await expect(lines(page)).to_have_count(15)
    await page.go_back()
    await page.get_by_role("link", name="o-track-44").click()
    await expect(lines(page)).to_have_count(1)


async def test_without_orders_the_page_says_how_to_make_some(page: Page, server: LookupServer) -> None:
    await page.goto(address(server))
    await expect(page.get_by_role("heading", name="No orders yet")).to_be_visible()
    await expect(page.locator("#result")).to_contain_text("orderflow publish 10")


async def test_a_list_that_cannot_be_read_can_be_tried_again(
    page: Page, server: LookupServer, forty_five: list[str]
) -> None:
    """At the start, on the way to more, and in a search. What is already shown stays."""

    async def unavailable(route: Route) -> None:
        await route.fulfill(status=503, body='{"error":"unavailable"}')

    async def broken(route: Route) -> None:
        await route.abort()

    retry = page.get_by_role("button", name="Try again")
    for handler, path, title, found in (
        (unavailable, "/", "The newest orders cannot be listed right now", 20),
        (broken, "/", "The server cannot be reached", 20),
        (unavailable, "/?q=customer-1", "The order cannot be read right now", 15),
    ):
        await page.route("**/orders?*", handler)
        await page.goto(address(server, path))
        await expect(page.get_by_role("heading", name=title)).to_be_visible()
        await page.unroute("**/orders?*")
        await retry.click()
        await expect(lines(page)).to_have_count(found)

    await page.goto(address(server))
    await page.route("**/orders?*", unavailable)
    await page.get_by_role("button", name="Show more").click()
    await expect(page.get_by_role("alert")).to_have_text("The next orders could not be read.")
    await expect(lines(page)).to_have_count(20)
    await page.unroute("**/orders?*")
    await retry.click()
    await expect(lines(page)).to_have_count(40)
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_markup_in_a_list_is_only_text(page: Page, server: LookupServer, database: asyncpg.Connection) -> None:
    """Every text of a line holds an attack; none of it runs, and its link leads to the order."""
    order = make_order(OrderGenerator(53), order_uid=MARKUP, track_number=MARKUP, customer_id=MARKUP)
    order = replace(order, delivery_service=MARKUP, payment=replace(order.payment, currency=MARKUP))
    await store_order(database, order)
    await page.goto(address(server))
    await expect(lines(page)).to_contain_text(MARKUP)
    await page.goto(address(server, "/?q=%3Cimg%20src%3Dx%20onerror%3D%22window.injected%3Dtrue%22%3E"))
    await expect(lines(page)).to_have_count(2)
    await lines(page).first.click()
    await expect(shown_order(page)).to_contain_text(MARKUP)
    assert await page.locator("#result img").count() == 0
    assert await page.evaluate("window.injected") is None


async def test_a_list_fits_a_phone_in_russian(
    browser: Browser, server: LookupServer, database: asyncpg.Connection
) -> None:
    """Nothing sticks out of 390 pixels, however long a key is; the words are the reader's."""
    generator = OrderGenerator(54)
    for number in range(2):
        order = make_order(generator, order_uid=f"{number}{'x' * 300}", track_number="T" * 300, customer_id="W" * 300)
        await store_order(database, order)
    context = await browser.new_context(viewport={"width": 390, "height": 844}, locale="ru-RU")
    page = await context.new_page()
    for path, heading in (("/", "Последние заказы"), (f"/?q={'W' * 300}", "Заказы покупателя")):
        await page.goto(address(server, path))
        await expect(page.get_by_role("heading", name=heading)).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await context.close()
