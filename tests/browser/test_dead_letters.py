"""The page of dead letters in a real browser, over the real application, stores, Kafka and engine."""

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from playwright.async_api import Browser, Dialog, Locator, Page, Route, expect

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.bad_messages import ORDER
from tests.support.letters import FAILED_AT, letters, message, store_letter
from tests.support.lookup_server import LookupServer, lookup_server
from tests.support.programs import Programs
from tests.support.topic import send

MARKUP = '<img src=x onerror="window.injected=true">'
TOKEN = "the admin's token: ключ"
ERRORS = [
    {"path": "delivery.email", "message": "must be a string, not a number"},
    {"path": "items[0].price", "message": "must be from 0 to 2147483647"},
    {"path": "customer_id", "message": "is required"},
]
BROKEN = {
    **{name: value for name, value in ORDER.items() if name != "customer_id"},
    "delivery": {**ORDER["delivery"], "email": 5},
    "items": [{**ORDER["items"][0], "price": -453}],
}


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[LookupServer]:
    async with lookup_server(settings, admin_token=TOKEN) as running:
        yield running


@pytest.fixture
async def letter(settings: Settings, database: asyncpg.Connection) -> dict[str, Any]:
    """Store a letter with three errors at 2:57; provide what its message says."""
    told = {"errors": json.dumps(ERRORS), "subject": ORDER["order_uid"], "payload": json.dumps(BROKEN).encode()}
    headers = json.dumps([["trace", b64encode(b"trace-7").decode()]])
    await store_letter(database, settings, partition=2, kafka_offset=57, headers=headers, **told)
    return BROKEN


def address(server: LookupServer, query: str = "") -> str:
    return f"http://127.0.0.1:{server.port}/dead-letters{query}"


def lines(page: Page) -> Locator:
    return page.get_by_role("listitem").get_by_role("link")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name)


async def enter_token(page: Page, token: str = TOKEN) -> None:
    await page.get_by_label("Token", exact=True).fill(token)
    await page.get_by_role("dialog").get_by_role("button", name="Enter token").click()


async def test_letters_are_listed_and_narrowed(
    page: Page, server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Page by page; each reason says how many it has; the address keeps the filters."""
    for offset in range(25):
        reason = "invalid_json" if offset % 5 == 0 else "invalid_order"
        failed_at = FAILED_AT + timedelta(minutes=offset)
        subject = f"uid-{offset}"
        await store_letter(database, settings, kafka_offset=offset, reason=reason, failed_at=failed_at, subject=subject)
    await store_letter(database, settings, kafka_offset=99, resolved_at=FAILED_AT, subject="uid-resolved")
    await page.goto(address(server))
    await expect(lines(page)).to_have_count(20)
    await expect(page.locator(".list-title .count")).to_have_text("25")
    await button(page, "Show more").click()
    await expect(lines(page)).to_have_count(25)
    for told in ("Invalid order", "uid-24", "0:24", "1 error"):
        await expect(lines(page).first).to_contain_text(told)

    reason = page.get_by_label("Reason")
    await expect(reason.locator("option")).to_contain_text(
        ["All reasons (25)", "Empty message (0)", "Not JSON (5)", "Invalid order (20)", "Refused by the database (0)"]
    )
    await reason.select_option("invalid_json")
    await expect(lines(page)).to_have_count(5)
    await page.get_by_label("Order uid").fill(" uid-10 ")
    await page.keyboard.press("Enter")
    await expect(lines(page)).to_have_count(1)
    assert page.url == address(server, "?reason=invalid_json&order_uid=uid-10")
    await page.get_by_label("Failed").select_option("hour")
    await expect(page.get_by_role("heading", name="No letter matches")).to_be_visible()
    await page.go_back()
    await expect(lines(page)).to_have_count(1)
    await expect(page.get_by_label("Failed")).to_have_value("")
    await page.goto(address(server, "?state=all&order_uid=uid-resolved"))
    await expect(lines(page)).to_contain_text("Resolved")
    await expect(page.get_by_label("State")).to_have_value("all")


async def test_a_letter_is_explained_without_what_it_says(
    page: Page, server: LookupServer, letter: dict[str, Any]
) -> None:
    """Each error stands at its path in the masked message; what is missing stands where it belongs."""
    await page.goto(address(server))
    await lines(page).click()
    await expect(page.get_by_role("heading", name="Invalid order")).to_be_focused()
    assert page.url == address(server, "?letter=2:57")
    marked = page.locator(".json-line.bad")
    await expect(marked).to_have_text(
        [
            re.compile(r"^\{customer_id is required$"),
            re.compile(r'^"email": ••• numbermust be a string, not a number$'),
            re.compile(r'^"price": ••• number,must be from 0 to 2147483647$'),
        ]
    )
    await expect(page.locator(".json-lines")).to_contain_text('"currency": ••• text, length 3')
    await expect(page.locator(".json-lines")).to_contain_text(re.compile('"city": ••• text,"address"'))
    content = await page.content()
    assert not [value for value in ORDER["delivery"].values() if value in content]
    await button(page, "items[0].price").click()
    await expect(marked.nth(2)).to_be_focused()
    await page.get_by_role("link", name="All dead letters").click()
    await expect(lines(page)).to_be_focused()


async def test_who_types_while_the_list_loads_keeps_the_field(
    server: LookupServer, page: Page, letter: dict[str, Any]
) -> None:
    """Else Enter would follow the link that has the focus by then."""
    asked, typed = asyncio.Event(), asyncio.Event()

    async def answer_later(route: Route) -> None:
        asked.set()
        await typed.wait()
        await route.continue_()

    await page.goto(address(server, "?letter=2:57"))
    await page.route("**/dead-letters/list*", answer_later)
    await page.get_by_role("link", name="All dead letters").click()
    await asked.wait()
    field = page.get_by_label("Order uid")
    await field.fill("nobody")
    typed.set()
    await expect(lines(page)).to_be_visible()
    await expect(field).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(address(server, "?order_uid=nobody"))


async def test_the_token_shows_the_message_and_is_forgotten(
    page: Page, server: LookupServer, letter: dict[str, Any]
) -> None:
    """A wrong one is said to be wrong; it is kept for the tab alone; forgetting it hides what it showed."""
    await page.goto(address(server, "?letter=2:57"))
    await button(page, "Reveal").click()
    await enter_token(page, "wrong")
    await expect(page.get_by_role("alert").filter(has_text="The token is wrong.")).to_be_visible()
    await enter_token(page)
    await expect(page.locator(".json-lines")).to_contain_text(ORDER["delivery"]["name"])
    await expect(page.locator(".json-lines")).to_contain_text('"price": -453')
    await expect(page.locator(".envelope")).to_contain_text("trace-7")
    await expect(button(page, "Hide")).to_be_focused()
    await page.reload()
    await button(page, "Reveal").click()
    await expect(page.locator(".json-lines")).to_contain_text(ORDER["delivery"]["name"])
    assert await page.evaluate("JSON.stringify(localStorage)") == "{}"
    await button(page, "Forget token").click()
    await expect(page.locator(".json-lines")).not_to_contain_text(ORDER["delivery"]["name"])
    assert await page.evaluate("JSON.stringify(sessionStorage)") == "{}"
    await expect(button(page, "Enter token")).to_be_focused()


async def test_without_a_token_of_the_server_the_page_is_read_only(
    page: Page, settings: Settings, letter: dict[str, Any]
) -> None:
    """It says so, and offers nothing that could not be done."""
    async with lookup_server(settings) as server:
        await page.goto(address(server))
        await expect(page.locator("#access")).to_contain_text("the server runs without ADMIN_TOKEN")
        await expect(button(page, "Replay")).to_have_count(0)
        await lines(page).click()
        await expect(page.get_by_role("article")).to_be_visible()
        for name in ("Replay", "Edit", "Reveal", "token"):
            await expect(button(page, name)).to_have_count(0)


async def test_a_letter_is_mended_and_becomes_an_order(
    page: Page, orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """Checked, sent, stored by the engine, resolved and opened, all without loading the page anew."""
    engine = await orderflow.start("engine", "--workers", "1")
    serving = await orderflow.start("serve", ADMIN_TOKEN="secret")
    url = (await serving.wait_for("http_listening"))["url"]
    order = OrderGenerator(seed=81).order()
    await send(settings, message(order, entry="", locale=5))
    await engine.wait_for("batch_committed", timeout_s=60)

    await page.goto(f"{url}/dead-letters")
    await page.evaluate("window.sameDocument = true")
    await lines(page).click()
    await button(page, "Edit and send").click()
    await enter_token(page, "secret")
    editor = page.get_by_label("The whole message")
    await expect(editor).to_be_focused()
    text = await editor.input_value()

    await editor.fill(text.replace('"entry": ""', '"entry": '))
    await expect(page.locator("#mended-state")).to_contain_text("Not JSON: line 4, column 12")
    await expect(button(page, "Check and send")).to_be_disabled()
    await editor.fill(text.replace('"entry": ""', '"entry": "WBIL"'))
    await button(page, "Check and send").click()
    await expect(page.locator(".findings")).to_contain_text("It would be rejected again")
    await expect(page.locator(".findings")).to_contain_text("locale must be a string, not a number")
    assert len(await letters(database)) == 1
    await editor.fill(json.dumps({**order, "entry": "WBIL"}, ensure_ascii=False))
    await button(page, "Check and send").click()

    await expect(page.locator(".outcome")).to_contain_text("Accepted The letter is resolved.", timeout=30_000)
    await expect(page.locator(".badge")).to_have_text("Resolved")
    await expect(button(page, "Replay")).to_have_count(0)
    assert await page.evaluate("window.sameDocument")
    await page.get_by_role("link", name="Open the order").click()
    await expect(page.get_by_role("article")).to_contain_text(order["delivery"]["name"])
    assert order["delivery"]["email"] not in "\n".join(serving.stderr_lines)
    assert "secret" not in "\n".join(serving.stderr_lines)


async def test_letters_are_replayed_and_followed(
    page: Page, orderflow: Programs, settings: Settings, database: asyncpg.Connection
) -> None:
    """One, which is rejected again; then all that match, with their number first."""
    engine = await orderflow.start("engine", "--workers", "1")
    generator = OrderGenerator(seed=82)
    for _ in range(3):
        await send(settings, message(generator.order(), entry=""))
    await engine.wait_for("partition_opened", count=4)
    async with lookup_server(settings, admin_token=TOKEN) as server:
        await page.goto(address(server))

        async def listed() -> None:
            await page.reload()
            await expect(page.locator("#result[aria-busy=false]")).to_be_visible()

        while await lines(page).count() < 3:
            await listed()
        await lines(page).first.click()
        await button(page, "Replay").click()
        await enter_token(page)
        await page.get_by_role("dialog").get_by_role("button", name="Replay", exact=True).click()
        await expect(page.locator(".outcome")).to_contain_text("Rejected again", timeout=30_000)
        await expect(page.get_by_role("article")).to_contain_text("1 of 5")

        await page.get_by_role("link", name="All dead letters").click()
        await button(page, "Replay all matching…").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("3 letters will be sent again.")
        await store_letter(database, settings, partition=3, kafka_offset=10**9)
        await dialog.get_by_role("button", name="Send 3").click()
        await expect(dialog.get_by_role("alert")).to_have_text("The number has changed: check it again.")
        await dialog.get_by_role("button", name="Send 4").click()
        await expect(dialog).to_contain_text("Sent: 4 letters.")
        await dialog.get_by_role("button", name="Close").click()
        await expect(dialog).to_have_count(0)
    assert sorted(letter["replay_count"] for letter in await letters(database)) == [1, 1, 1, 2]


async def test_markup_in_a_letter_is_only_text(
    page: Page, server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Everything that a sender can write holds an attack; none of it runs, masked, revealed or edited."""
    payload = {MARKUP: MARKUP, "entry": MARKUP, "items": [{MARKUP: MARKUP}]}
    errors = [{"path": path, "message": MARKUP} for path in (MARKUP, f"items[0].{MARKUP}", "entry", "")]
    hostile = {
        "payload": json.dumps(payload).encode(),
        "errors": json.dumps(errors),
        "headers": json.dumps([[MARKUP, b64encode(MARKUP.encode()).decode()]]),
        "key": MARKUP.encode(),
    }
    shown = {"subject": MARKUP, "reason": MARKUP, "publish_error": MARKUP}
    await store_letter(database, settings, **hostile, **shown)
    await page.goto(address(server))
    await expect(lines(page)).to_contain_text(MARKUP)
    await lines(page).click()
    await button(page, "Reveal").click()
    await enter_token(page)
    await expect(page.locator(".json-lines")).to_contain_text("onerror")
    await expect(page.locator(".envelope")).to_contain_text(MARKUP)
    await button(page, "Edit and send").click()
    await button(page, "Check and send").click()
    await expect(page.locator(".findings")).to_contain_text("It would be rejected again")
    await page.wait_for_load_state("networkidle")
    assert await page.locator("#result img").count() == 0
    assert await page.evaluate("window.injected") is None


async def test_the_keyboard_is_enough(page: Page, server: LookupServer, letter: dict[str, Any]) -> None:
    """Slash, arrow and Enter to the letter; Enter on its buttons; Escape out of a dialog, back to its button."""
    await page.goto(address(server))
    await expect(lines(page)).to_have_count(1)
    await page.keyboard.press("/")
    await expect(page.get_by_label("Order uid")).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Invalid order")).to_be_focused()
    await button(page, "Replay").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Token", exact=True)).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(button(page, "Replay")).to_be_focused()
    await button(page, "Edit and send").press("Enter")
    await enter_token(page)
    await expect(page.get_by_label("The whole message")).to_be_focused()
    await button(page, "Cancel").press("Enter")
    await expect(button(page, "Edit and send")).to_be_focused()


async def test_changes_are_never_left_without_a_question(
    page: Page, server: LookupServer, letter: dict[str, Any]
) -> None:
    """By the link to the list, going back, going forward, or forgetting the token: the reader may stay."""
    await page.goto(address(server))
    await lines(page).click()
    await button(page, "Edit and send").click()
    await enter_token(page)
    field = page.get_by_label("The whole message")
    await field.fill("{}")
    questions: list[str] = []
    answers = {"stay": True}

    async def answer(dialog: Dialog) -> None:
        questions.append(dialog.message)
        await (dialog.dismiss() if answers["stay"] else dialog.accept())

    page.on("dialog", answer)
    to_list = page.get_by_role("link", name="All dead letters")
    for leave in (to_list.click, lambda: page.evaluate("history.back()"), button(page, "Forget token").click):
        async with page.expect_event("dialog"):
            await leave()
        await expect(page).to_have_url(address(server, "?letter=2:57"))
        await expect(field).to_have_value("{}")
    assert set(questions) == {"Discard your changes?"}

    answers["stay"] = False
    await page.evaluate("history.back()")
    await expect(lines(page)).to_have_count(1)
    assert (page.url, len(questions)) == (address(server), 4)
    await page.go_forward()
    await expect(button(page, "Edit and send")).to_be_visible()
    await to_list.click()
    await expect(lines(page)).to_have_count(1)
    assert len(questions) == 4, "nothing was changed, and nothing is asked"


async def test_a_letter_fits_a_phone_in_russian(
    browser: Browser, server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Nothing sticks out of 390 pixels, however long a word is; errors are explained in the reader's language."""
    told = {
        "errors": json.dumps(ERRORS),
        "subject": "x" * 300,
        "payload": json.dumps({**BROKEN, "W" * 300: 1}).encode(),
    }
    await store_letter(database, settings, **told)
    context = await browser.new_context(viewport={"width": 390, "height": 844}, locale="ru-RU")
    page = await context.new_page()
    await page.goto(address(server))
    await expect(lines(page)).to_contain_text("Неверный заказ")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await lines(page).click()
    await expect(page.locator(".letter-errors")).to_contain_text("должно быть от 0 до 2147483647")
    await page.get_by_role("button", name="Исправить и отправить…").click()
    await page.get_by_label("Токен", exact=True).fill(TOKEN)
    await page.get_by_role("dialog").get_by_role("button", name="Ввести токен").click()
    await expect(page.get_by_label("Сообщение целиком")).to_be_focused()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await context.close()
