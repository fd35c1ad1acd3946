"""The page in a real browser, over the real application and real stores."""

import asyncpg
import pytest
from msgspec.structs import replace
from playwright.async_api import Browser, Page, Route, expect

from handlers.model import Order
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.letters import store_letter
from tests.support.lookup_server import LookupServer, address
from tests.support.programs import Programs
from tests.support.stored_orders import make_order, store_order

_CUT = """[...document.querySelectorAll('.lines .line > span')]
    .filter(element => element.scrollWidth > element.clientWidth).map(element => element.textContent)"""
_LINES = """element => {
    const lines = new Map();
    for (const node of element.childNodes)
        for (let at = 0; at < node.textContent.length; at += 1) {
            const range = document.createRange();
            range.setStart(node, at);
            range.setEnd(node, at + 1);
            const { top } = range.getBoundingClientRect();
            lines.set(top, (lines.get(top) ?? '') + node.textContent[at]);
        }
    return [...lines.values()];
}"""
MARKUP = '<img src=x onerror="window.injected=true"><script>window.injected=true</script>'


async def look_up(page: Page, typed: str) -> None:
    await page.get_by_role("textbox").first.fill(typed)
    await page.get_by_role("button", name="Get order").click()


async def stored_order(database: asyncpg.Connection, seed: int) -> Order:
    order = make_order(OrderGenerator(seed))
    await store_order(database, order)
    return order


async def test_an_order_is_found_and_shown(page: Page, server: LookupServer, database: asyncpg.Connection) -> None:
    """A uid with blanks around it is found; a miss comes first, a hit afterwards, each with the time it took."""
    order = await stored_order(database, 31)
    await page.goto(address(server))
    await look_up(page, f"  {order.order_uid} \t")

    card = page.get_by_role("article")
    await expect(card.get_by_role("heading", level=2)).to_contain_text(order.order_uid)
    await expect(card.locator("[data-x-cache]")).to_have_text("Cache miss")
    await expect(card.locator(".measures")).to_contain_text("round trip")
    await expect(card.locator(".measures")).to_contain_text("server")
    for value in (order.track_number, order.delivery.name, order.delivery.email, order.customer_id):
        await expect(card).to_contain_text(value)
    rows = card.get_by_role("table").locator("tbody tr")
    await expect(rows).to_have_count(len(order.items))
    for position, item in enumerate(order.items):
        await expect(rows.nth(position)).to_contain_text(item.name)
        await expect(rows.nth(position)).to_contain_text(item.brand)
        await expect(rows.nth(position)).to_contain_text(f"{item.total_price:,}")
    assert await page.get_by_role("textbox").first.input_value() == order.order_uid

    await page.get_by_role("button", name="Get order").click()
    await expect(card.locator("[data-x-cache]")).to_have_text("Cache hit")


async def test_blanks_at_the_end_of_a_uid_are_part_of_it(
    page: Page, server: LookupServer, database: asyncpg.Connection
) -> None:
    """They are seen, and the address keeps them; without such an order the text is looked up without them."""
    for uid in ("a uid ", "a uid"):
        await store_order(database, make_order(OrderGenerator(33), order_uid=uid, track_number=f"track of '{uid}'"))
    await page.goto(address(server))
    heading = page.get_by_role("article").get_by_role("heading", level=2)
    for typed, found, codes in (("a uid ", "a uid ", ["␣"]), ("a uid", "a uid", []), (" a uid", "a uid", [])):
        await look_up(page, typed)
        await expect(page.get_by_role("article")).to_contain_text(f"track of '{found}'")
        assert await heading.locator("bdi").text_content() == found
        marks = heading.locator(".hidden-character")
        assert await marks.evaluate_all("marks => marks.map(({ dataset }) => dataset.code)") == codes
        await expect(page.get_by_role("textbox").first).to_have_value(found)
        assert page.url.endswith(f"/?order={found.replace(' ', '+')}")
    await page.reload()
    await page.goto(address(server, "/?order=a+uid+"))
    await expect(page.get_by_role("article")).to_contain_text("track of 'a uid '")


async def test_the_json_is_the_answer_itself(page: Page, server: LookupServer, database: asyncpg.Connection) -> None:
    """Integers that JavaScript would round keep their digits, in the JSON and in the table."""
    order = make_order(OrderGenerator(32))
    large = 2**63 - 1
    order.items[0] = replace(order.items[0], nm_id=large, chrt_id=large - 2)
    await store_order(database, order)
    await page.goto(address(server, f"/?order={order.order_uid}"))
    await page.get_by_text("JSON", exact=False).first.click()
    await expect(page.locator(".json pre")).to_contain_text(f'"chrt_id": {large - 2},')
    await expect(page.get_by_role("table")).to_contain_text(str(large))
    await expect(page.get_by_role("button", name="Copy", exact=True)).to_be_visible()


async def test_an_unknown_uid_is_said_to_be_unknown(page: Page, server: LookupServer) -> None:
    """The uid is repeated, so that a slip can be seen."""
    await page.goto(address(server))
    await look_up(page, "no-such-order")
    await expect(page.get_by_role("heading", name="No order with this uid")).to_be_visible()
    await expect(page.locator("#result")).to_contain_text("no-such-order")


@pytest.mark.parametrize(("typed", "why"), [("%00x", "contains a NUL character"), ("x" * 600, "at most 512 bytes")])
async def test_a_uid_that_cannot_be_is_told_why(page: Page, server: LookupServer, typed: str, why: str) -> None:
    """Not the one reason for the other's trouble."""
    await page.goto(address(server, f"/?order={typed}"))
    await expect(page.get_by_role("heading", name="No order can have this uid")).to_be_visible()
    await expect(page.locator("#result")).to_contain_text(why)


@pytest.mark.parametrize("query", ["order", "q"])
async def test_an_order_that_was_only_ever_rejected_leads_to_its_dead_letters(
    page: Page, server: LookupServer, settings: Settings, database: asyncpg.Connection, query: str
) -> None:
    """Whichever way it was asked for: it is known, although it is not stored."""
    await store_letter(database, settings, partition=1, kafka_offset=262, subject="rejected-uid")
    await page.goto(address(server, f"/?{query}=rejected-uid"))
    await expect(page.get_by_role("heading", name="its message was rejected")).to_be_visible()
    await page.get_by_role("link", name=f"{settings.kafka_topic} 1:262").click()
    await page.wait_for_url("**/dead-letters?letter=1:262")
    await expect(page.locator("#result")).to_contain_text("rejected-uid")


@pytest.mark.parametrize("uid", [".", ".."])
async def test_a_uid_that_browsers_cannot_ask_for_is_said_to_be_one(page: Page, server: LookupServer, uid: str) -> None:
    """It would be a step between folders: what answers is another page, and no order."""
    await page.goto(address(server, f"/?order={uid}"))
    await expect(page.get_by_role("heading", name="A browser cannot request this uid")).to_be_visible()
    await expect(page.locator("#result")).to_contain_text(f"orderflow trace {uid}")
    await expect(page.get_by_role("button", name="Get order")).to_have_attribute("aria-busy", "false")


@pytest.mark.parametrize("path", ["/?order=some-uid", "/", "/dead-letters", "/dead-letters?letter=0:1"])
async def test_an_answer_that_is_no_json_is_a_failure(page: Page, server: LookupServer, path: str) -> None:
    """Something between the page and the server may answer in its stead: there is no spinner without an end."""

    async def foreign(route: Route) -> None:
        await route.fulfill(status=200, content_type="text/html", body="<!doctype html><p>Welcome to the network</p>")

    for asked in ("**/order/*", "**/orders*", "**/dead-letters/**"):
        await page.route(asked, foreign)
    await page.goto(address(server, path))
    await expect(page.locator(".failed").get_by_role("button", name="Try again")).to_be_visible()
    await expect(page.locator("#result")).to_have_attribute("aria-busy", "false")


async def test_a_link_opens_an_order_and_back_returns(
    page: Page, server: LookupServer, database: asyncpg.Connection
) -> None:
    """The address says which order is shown; the browser's history works."""
    first, second = await stored_order(database, 33), await stored_order(database, 34)
    await page.goto(address(server, f"/?order={first.order_uid}"))
    shown = page.get_by_role("article").get_by_role("heading", level=2)
    await expect(shown).to_contain_text(first.order_uid)
    await look_up(page, second.order_uid)
    await expect(shown).to_contain_text(second.order_uid)
    assert page.url.endswith(f"/?order={second.order_uid}")
    await page.go_back()
    await expect(shown).to_contain_text(first.order_uid)
    await expect(page.get_by_role("textbox").first).to_have_value(first.order_uid)


async def test_an_outage_can_be_tried_again(page: Page, server: LookupServer, database: asyncpg.Connection) -> None:
    """503 and a broken connection are said to be what they are, and a button asks again."""
    order = await stored_order(database, 35)

    async def unavailable(route: Route) -> None:
        await route.fulfill(status=503, body='{"error":"unavailable"}')

    async def broken(route: Route) -> None:
        await route.abort()

    for handler, title in (
        (unavailable, "The order cannot be read right now"),
        (broken, "The server cannot be reached"),
    ):
        await page.goto(address(server))
        await page.route("**/order/*", handler)
        await look_up(page, order.order_uid)
        await expect(page.get_by_role("heading", name=title)).to_be_visible()
        await page.unroute("**/order/*")
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_role("article")).to_contain_text(order.track_number)


@pytest.mark.parametrize("path", ["/", "/dead-letters"])
async def test_an_error_has_its_drawing_although_the_server_is_gone(page: Page, orderflow: Programs, path: str) -> None:
    """All drawings came with the page: nothing has to be fetched from a server that is down."""
    server = await orderflow.start("serve")
    await page.goto(f"{(await server.wait_for('http_listening'))['url']}{path}")
    await expect(page.locator("#result .state")).to_be_visible()
    assert await server.stop() == 0
    await page.get_by_role("textbox").or_(page.get_by_role("searchbox")).first.fill("some-uid")
    await page.keyboard.press("Enter")
    drawing = page.locator(".failed .state-icon use")
    await expect(drawing).to_be_attached()
    assert await drawing.evaluate("use => use.getBBox().width") > 0


async def test_markup_in_an_order_is_only_text(page: Page, server: LookupServer, database: asyncpg.Connection) -> None:
    """Every text of the order holds an attack, the uid included; none of it runs."""
    order = make_order(OrderGenerator(36), order_uid=MARKUP, track_number=MARKUP, customer_id=MARKUP, locale=MARKUP)
    order = replace(
        order,
        delivery_service=MARKUP,
        delivery=replace(
            order.delivery, name=MARKUP, phone=MARKUP, city=MARKUP, address=MARKUP, region=MARKUP, email=MARKUP
        ),
        payment=replace(order.payment, currency=MARKUP, provider=MARKUP, bank=MARKUP, transaction=MARKUP),
        items=[replace(item, name=MARKUP, brand=MARKUP, size=MARKUP) for item in order.items],
    )
    await store_order(database, order)
    await page.goto(address(server))
    await look_up(page, MARKUP)
    await expect(page.get_by_role("article").get_by_role("heading", level=2)).to_contain_text(MARKUP)
    await page.wait_for_load_state("networkidle")
    assert await page.locator("#result img, #result script").count() == 0
    assert await page.evaluate("window.injected") is None


async def test_a_russian_reader_gets_russian(browser: Browser, server: LookupServer) -> None:
    """The language follows the browser's."""
    context = await browser.new_context(locale="ru-RU")
    page = await context.new_page()
    await page.goto(address(server))
    await expect(page.get_by_role("button", name="Найти заказ")).to_be_visible()
    assert await page.evaluate("document.documentElement.lang") == "ru"
    await context.close()


async def test_the_page_fits_a_phone(browser: Browser, server: LookupServer, database: asyncpg.Connection) -> None:
    """Nothing sticks out of 390 pixels, however long a word is."""
    order = make_order(OrderGenerator(37), order_uid="x" * 300)
    order.items[0] = replace(order.items[0], name="W" * 200, brand="M" * 200)
    await store_order(database, order)
    context = await browser.new_context(viewport={"width": 390, "height": 844}, locale="en-US")
    page = await context.new_page()
    await page.goto(address(server, f"/?order={order.order_uid}"))
    await expect(page.get_by_role("article")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await context.close()


@pytest.mark.parametrize("locale", ["en-US", "ru-RU"])
async def test_nothing_in_a_list_is_cut_on_a_phone(
    browser: Browser, server: LookupServer, settings: Settings, database: asyncpg.Connection, locale: str
) -> None:
    """Neither uids nor numbers; a usual uid stays on one line (in English); an address breaks behind its parts."""
    order = make_order(OrderGenerator(38), order_uid="a99a2573ed06531ae777")
    order = replace(order, delivery=replace(order.delivery, email="somebody.with.a.name@mail.somewhere.example.net"))
    await store_order(database, order)
    await store_order(database, make_order(OrderGenerator(39), order_uid="u" * 60, customer_id="c" * 60))
    await store_letter(database, settings, kafka_offset=12_345_678, subject=order.order_uid, replay_count=4)
    context = await browser.new_context(viewport={"width": 390, "height": 844}, locale=locale)
    page = await context.new_page()
    for path, uid in (("/", ".line-uid"), ("/dead-letters", ".letter-uid")):
        await page.goto(address(server, path))
        shown = page.locator(f".lines {uid}", has_text=order.order_uid)
        await expect(shown).to_be_visible()
        assert await page.evaluate(_CUT) == []
        if locale == "en-US":  # a Russian date and numbers leave less room
            assert await shown.evaluate("element => element.getClientRects()[0].height") < 30
    await page.goto(address(server, f"/?order={order.order_uid}"))
    lines = await page.locator(".facts dd span", has_text="@").evaluate(_LINES)
    assert len(lines) > 1
    assert [line for line in lines[:-1] if line[-1] not in "@."] == []
    await context.close()
