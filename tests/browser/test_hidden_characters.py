"""Characters that turn a text around, or that nobody sees, on the pages in a real browser."""

import json

import asyncpg
from msgspec.structs import replace
from playwright.async_api import Locator, Page, expect

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.letters import store_letter
from tests.support.lookup_server import LookupServer, address
from tests.support.stored_orders import make_order, store_order

TURNED = "invoice\u202egnp.exe"
QUERY = "invoice%E2%80%AEgnp.exe"
UNSEEN = "na\u200bme"
_PLACES = """element => {
    const nodes = [...element.childNodes];
    const [first, , last] = nodes.map(node => node.nodeType === Node.TEXT_NODE ? node : node.firstChild);
    const range = document.createRange();
    const left = (node, at) => {
        range.setStart(node, at);
        range.setEnd(node, at + 1);
        return range.getBoundingClientRect().left;
    };
    return [left(first, 0), left(last, 0), left(last, last.length - 1)];
}"""


async def reads_forwards(text: Locator) -> None:
    """Fail if what comes after the override is not shown from left to right, or the text is not the whole uid."""
    assert await text.text_content() == TURNED
    begin, gnp, exe = await text.evaluate(_PLACES)
    assert begin < gnp < exe


async def test_no_character_turns_a_uid_around(
    page: Page, server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """In an order, a list, a title, a state without an order, and among the dead letters."""
    order = make_order(OrderGenerator(91), order_uid=TURNED, customer_id=TURNED)
    order = replace(order, items=[replace(order.items[0], name=UNSEEN, brand=TURNED)])
    await store_order(database, order)
    payload = json.dumps({"entry": TURNED}, ensure_ascii=False).encode()
    await store_letter(database, settings, partition=1, kafka_offset=7, subject=TURNED, payload=payload)
    for path, places in (
        (f"/?order={QUERY}", (".order-uid bdi", ".search-link bdi", ".item-brand bdi")),
        (f"/?q={QUERY}", ("h2 bdi", ".line-uid bdi")),
        ("/dead-letters", (".letter-uid bdi",)),
        ("/dead-letters?letter=1:7", (".letter-subject bdi",)),
    ):
        await page.goto(address(server, path))
        for place in places:
            text = page.locator("#result").locator(place).filter(has_text="exe").first
            await expect(text).to_be_visible()
            await reads_forwards(text)
    await page.goto(address(server, f"/?order={QUERY}"))
    await expect(page).to_have_title("invoice⟨U+202E⟩gnp.exe · orderflow")
    await expect(page.locator(".item-name .hidden-character")).to_have_attribute("data-code", "U+200B")
    await expect(page.locator(".json .hidden-character").first).to_have_attribute("data-code", "U+202E")
    await page.goto(address(server, "/?order=no%E2%80%AEne"))
    await expect(page.locator(".state-uid .hidden-character")).to_have_attribute("data-code", "U+202E")


async def test_a_letter_with_blanks_in_its_uid_is_found(
    page: Page, server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Exactly as it was typed first, and without the blanks around it if there is none."""
    for offset, subject in enumerate(("uid ", "other")):
        await store_letter(database, settings, kafka_offset=offset, subject=subject)
    await page.goto(address(server, "/dead-letters"))
    lines = page.get_by_role("listitem").get_by_role("link")
    await expect(lines).to_have_count(2)
    for typed, place, query in (("uid ", "0:0", "uid+"), (" other ", "0:1", "other")):
        await page.get_by_label("Order uid").fill(typed)
        await page.keyboard.press("Enter")
        await expect(lines).to_have_count(1)
        await expect(lines).to_contain_text(place)
        await expect(page).to_have_url(address(server, f"/dead-letters?order_uid={query}"))
