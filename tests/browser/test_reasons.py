"""The page of dead letters says why a message that is no order was refused, in both languages."""

import gzip
import json
import re

import asyncpg
from playwright.async_api import Browser, Page, expect

from handlers.decode import decode_order
from handlers.value_formats import CONFLUENT_JSON, VALUE_FORMATS
from orderflow.start.settings import Settings
from tests.support.bad_messages import NOT_AN_OBJECT, NOT_JSON, ORDER, order_with
from tests.support.decoding import BAD_DATES, INTEGERS, TEXTS, refused
from tests.support.letters import store_letter
from tests.support.lookup_server import lookup_server
from tests.support.topic import receive
from tests.unit.test_not_an_order import NAMED as NOT_ORDERS
from tests.unit.test_not_json import NAMED

TOKEN = "secret"
FRAME = b"\x00\x00\x01\x86\xa1"
FRAMED = FRAME + order_with(("entry", 5))
FORMATTED = [b"{}", b"5", b"[", json.dumps({"schema": 1, "payload": 1, "x": 1}).encode(), order_with()]
EXPLAIN = """async (messages) => {
  const { explain } = await import("./ui/dead_letters/errors.js");
  return messages.map(explain);
}"""


def messages() -> set[str]:
    """Return every kind of error that the decoder tells."""
    values = [value for value, _ in NAMED.values()] + [*NOT_JSON.values(), *NOT_AN_OBJECT.values(), None, b"", b"{}"]
    values += [json.dumps(document).encode() for document, *_ in NOT_ORDERS.values()]
    kinds = ["", 1, 1.5, 1e300, True, None, [], {}, -1, "\x00", "\ud800"]
    values += [order_with((path, kind)) for path in (*TEXTS, *INTEGERS, "delivery", "items") for kind in kinds]
    values += [order_with(("date_created", date)) for date in (*BAD_DATES.values(), None)]
    told = {error.message for value in values for error in getattr(decode_order(value), "errors", ())}
    return told | {refused(value, form).errors[0].message for form in VALUE_FORMATS[1:] for value in FORMATTED}


async def test_every_reason_is_told_in_russian_too(browser: Browser, settings: Settings) -> None:
    """Those of every message that the tests know; what stands in their places, such as a byte, is kept."""
    told = sorted(messages())
    assert len(told) > 100
    context = await browser.new_context(locale="ru-RU")
    page = await context.new_page()
    async with lookup_server(settings) as server:
        await page.goto(f"http://127.0.0.1:{server.port}/dead-letters")
        explained = await page.evaluate(EXPLAIN, told)
    await context.close()
    english = [text for text in explained if not re.search("[а-я]", text) or re.search("must|not |with |byte", text)]
    assert english == []
    for message, text in zip(told, explained, strict=True):
        assert set(re.findall(r"\d+", message.replace(",", ""))) >= set(re.findall(r"\d+", text)), text


async def enter_token(page: Page) -> None:
    await page.get_by_label("Token", exact=True).fill(TOKEN)
    await page.keyboard.press("Enter")


async def test_a_framed_letter_is_read_and_corrected_without_its_frame(
    page: Page, settings: Settings, database: asyncpg.Connection
) -> None:
    """Nobody can type a frame: it is told, it is not shown, and it is put back."""
    errors = json.dumps([{"path": "entry", "message": "must be a string, not a number"}])
    place = {"partition": 1, "kafka_offset": 57, "subject": ORDER["order_uid"]}
    await store_letter(database, settings, payload=FRAMED, errors=errors, **place)
    async with lookup_server(settings, admin_token=TOKEN, value_format=CONFLUENT_JSON) as server:
        await page.goto(f"http://127.0.0.1:{server.port}/dead-letters?letter=1:57")
        await expect(page.locator(".message-looks")).to_have_text(
            "Looks like: JSON in a schema registry's frame (0x00, schema id 100001)"
        )
        await expect(page.locator(".json-line.bad")).to_have_text('"entry": ••• number,must be a string, not a number')
        await page.get_by_role("button", name="Reveal").click()
        await enter_token(page)
        await expect(page.locator(".message-looks")).to_have_text("The JSON behind a schema registry's frame.")
        await expect(page.locator(".json-line.bad")).to_contain_text('"entry": 5,')
        await page.get_by_role("button", name="Edit and send").click()
        editor = page.get_by_label("The whole message")
        text = await editor.input_value()
        assert json.loads(text) == {**ORDER, "entry": 5}
        await editor.fill(text.replace('"entry": 5', '"entry": "WBIL"'))
        await page.get_by_role("button", name="Check and send").click()
        await expect(page.locator(".outcome")).to_contain_text("Sent to 1:0")
    [record] = await receive(settings, settings.kafka_topic, 1, partition=1)
    assert record.value is not None
    assert record.value[:5] == FRAME
    assert json.loads(record.value[5:]) == ORDER


async def test_a_letter_that_is_no_json_says_what_it_looks_like(
    page: Page, settings: Settings, database: asyncpg.Connection
) -> None:
    """Beside the reason, and without a token."""
    value = gzip.compress(b"{}")
    told = json.dumps([{"path": "", "message": refused(value).errors[0].message}])
    await store_letter(database, settings, payload=value, reason="invalid_json", errors=told)
    async with lookup_server(settings) as server:
        await page.goto(f"http://127.0.0.1:{server.port}/dead-letters?letter=0:0")
        await expect(page.locator(".message-plain")).to_contain_text("This is not JSON")
        await expect(page.locator(".message-looks")).to_have_text("Looks like: gzip; begins with 1f 8b")
        await expect(page.locator(".letter-errors")).to_contain_text("must be JSON, not compressed with gzip")
