"""A replay of more dead letters than one request sends, on the page in a real browser."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from playwright.async_api import Dialog, Locator, Page, Route, expect

from orderflow.start.settings import Settings
from tests.support.letters import letters
from tests.support.lookup_server import LookupServer, lookup_server

TOKEN = "secret"
PER_CALL = 10
_MANY = """
INSERT INTO dead_letters (topic, consumer_group, partition, kafka_offset, key, payload, headers, reason, errors,
                          produced_at, failed_at, batch_id)
SELECT $1, $2, n % 4, n, 'key', 'no JSON', '[]', 'invalid_json', '[]', now(), now(), gen_random_uuid()
FROM generate_series(1, $3) AS n
"""


@pytest.fixture
async def server(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[LookupServer]:
    """Run the application over 35 letters; a request sends ten of them."""
    await database.execute(_MANY, settings.kafka_topic, settings.kafka_group_id, 35)
    async with lookup_server(settings, admin_token=TOKEN, replay_max_letters=PER_CALL) as running:
        yield running


@pytest.fixture
async def gate(page: Page) -> "Gate":
    """Hold back the requests that send letters."""
    gate = Gate()
    await page.route("**/dead-letters/replay", gate.hold)
    return gate


class Gate:
    """Lets the requests that send letters through one at a time, and counts them. A dry run passes at once."""

    def __init__(self) -> None:
        self.asked = 0
        self._places = asyncio.Semaphore(0)

    async def hold(self, route: Route) -> None:
        if '"expected"' in (route.request.post_data or ""):
            self.asked += 1
            await self._places.acquire()
        await route.continue_()

    def let(self, number: int) -> None:
        for _ in range(number):
            self._places.release()


async def opened(page: Page, server: LookupServer) -> Locator:
    """Open the page with the token, and the dialog of a replay of all letters."""
    await page.add_init_script(f"sessionStorage.setItem('admin-token', '{TOKEN}')")
    await page.goto(f"http://127.0.0.1:{server.port}/dead-letters")
    await page.get_by_role("button", name="Replay all matching…").click()
    return page.get_by_role("dialog")


async def sent(database: asyncpg.Connection) -> list[int]:
    return sorted(letter["replay_count"] for letter in await letters(database))


async def test_all_letters_are_sent_part_by_part(
    page: Page, server: LookupServer, gate: Gate, database: asyncpg.Connection
) -> None:
    """With a bar that shows how far it is. A letter that is rejected again meanwhile is not sent again."""
    dialog = await opened(page, server)
    await expect(dialog).to_contain_text("They are sent 10 at a time")
    await dialog.get_by_role("button", name="Send 35").click()
    bar = dialog.get_by_role("progressbar")
    await expect(bar).to_have_js_property("value", 0)
    gate.let(1)
    await expect(dialog).to_contain_text("Sent 10 of 35")
    await expect(bar).to_have_js_property("value", 10)
    await database.execute(
        "UPDATE dead_letters SET settled_count = 1, failed_at = clock_timestamp() WHERE replay_count = 1"
    )
    gate.let(3)
    await expect(dialog).to_contain_text("Sent: 35 letters.")
    assert gate.asked == 4
    assert await sent(database) == [1] * 35


async def test_a_replay_is_stopped_between_two_parts(
    page: Page, server: LookupServer, gate: Gate, database: asyncpg.Connection
) -> None:
    """What is on its way arrives and is counted; by Escape too; the rest can be sent later."""
    dialog = await opened(page, server)
    await dialog.get_by_role("button", name="Send 35").click()
    gate.let(1)
    await expect(dialog).to_contain_text("Sent 10 of 35")
    await dialog.get_by_role("button", name="Stop").click()
    gate.let(1)
    await expect(dialog).to_contain_text("Stopped.")
    await expect(dialog).to_contain_text("Sent: 20 letters.")
    await expect(dialog).to_contain_text("Left: 15.")
    assert (await sent(database)).count(1) == 20

    # What is rejected again meanwhile is none of the rest.
    await database.execute(
        "UPDATE dead_letters SET settled_count = 1, failed_at = clock_timestamp() WHERE replay_count = 1"
    )
    await dialog.get_by_role("button", name="Send the rest…").click()
    await dialog.get_by_role("button", name="Send 15").click()
    await expect(dialog.get_by_role("progressbar")).to_be_visible()
    await page.keyboard.press("Escape")
    gate.let(1)
    await expect(dialog).to_contain_text("Sent: 10 letters.")
    await dialog.get_by_role("button", name="Close").click()
    await expect(dialog).to_have_count(0)
    assert (await sent(database)).count(1) == 30


async def test_a_running_replay_is_not_left_without_a_question(page: Page, server: LookupServer, gate: Gate) -> None:
    """Neither by loading the page again; once it has ended, nobody is asked."""
    asked: list[str] = []

    async def stay(question: Dialog) -> None:
        asked.append(question.type)
        await question.dismiss()

    dialog = await opened(page, server)
    await dialog.get_by_role("button", name="Send 35").click()
    await expect(dialog.get_by_role("progressbar")).to_be_visible()
    page.on("dialog", stay)
    await page.evaluate("location.reload()")
    gate.let(4)
    await expect(dialog).to_contain_text("Sent: 35 letters.")
    assert asked == ["beforeunload"]
    await page.reload()
    assert asked == ["beforeunload"]


async def test_two_tabs_send_each_letter_once(
    page: Page, server: LookupServer, gate: Gate, database: asyncpg.Connection
) -> None:
    """Each goes on with what the other has left, and tells its own number."""
    dialog = await opened(page, server)
    other = await page.context.new_page()
    in_other = await opened(other, server)
    await expect(in_other).to_contain_text("35 letters will be sent again.")
    await dialog.get_by_role("button", name="Send 35").click()
    gate.let(2)
    await expect(dialog).to_contain_text("Sent 20 of 35")
    await in_other.get_by_role("button", name="Send 35").click()
    await expect(in_other).to_contain_text("Sent: 15 letters.")
    gate.let(2)
    await expect(dialog).to_contain_text("Sent: 20 letters.")
    assert await sent(database) == [1] * 35
