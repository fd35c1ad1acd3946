"""An order's story on the page: in a real browser, told by the real system."""

import asyncio
import json

import asyncpg
from playwright.async_api import Browser, Locator, Page, Route, expect

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.letters import store_letter
from tests.support.lookup_server import LookupServer
from tests.support.programs import Programs
from tests.support.stored_orders import make_order, store_order
from tests.support.stories import BATCH_ID, after_ms, store_batch, store_written_order

STEPS = ["Published", "Consumed", "Validated", "Committed", "Cached"]


def address(server: LookupServer, order_uid: str) -> str:
    return f"http://127.0.0.1:{server.port}/?order={order_uid}"


def story(page: Page) -> Locator:
    return page.get_by_role("region", name="Story")


async def test_a_published_order_tells_its_story(orderflow: Programs, page: Page) -> None:
    """From `orderflow publish` to the page: every step, how long it took, and where the message was."""
    engine = await orderflow.start("engine", "--workers", "1")
    server = await orderflow.start("serve")
    url = (await server.wait_for("http_listening"))["url"]
    published = await orderflow.run("publish", "1", "--seed", "43")
    uid = published.lines[1]
    committed = await engine.wait_for("batch_committed", timeout_s=60)
    async with asyncio.timeout(20):
        while json.loads((await orderflow.run("trace", uid, "--json")).stdout)["steps"][-1]["at"] is None:
            pass

    await page.goto(f"{url}/?order={uid}")
    steps = story(page).locator(".steps li")
    await expect(steps).to_have_count(5)
    for position, name in enumerate(STEPS):
        await expect(steps.nth(position)).to_contain_text(name)
        await expect(steps.nth(position).locator("time")).to_have_count(1)
        await expect(steps.nth(position).locator(".step-took")).to_have_count(0 if position == 0 else 1)
    await expect(story(page)).to_contain_text("from publishing to the cache")
    traced = json.loads((await orderflow.run("trace", uid, "--json")).stdout)
    source, batch = traced["source"], traced["batch"]
    for told in (
        committed["batch_id"],
        f"{batch['worker']}@{batch['host']}",
        f"{source['topic']} {source['partition']}:{source['offset']}",
    ):
        await expect(story(page)).to_contain_text(told)
    assert await server.stop() == 0
    assert await engine.stop() == 0


async def test_times_are_the_readers_and_exact(
    browser: Browser, server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """In the reader's zone and language, to the millisecond; the day where it changes; what can be copied is."""
    await store_batch(database, settings, cached_at=after_ms(86_350_000))
    await store_written_order(database, "uid", traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    context = await browser.new_context(
        locale="ru-RU", timezone_id="Asia/Tokyo", permissions=["clipboard-read", "clipboard-write"]
    )
    page = await context.new_page()
    await page.goto(address(server, "uid"))
    told = page.get_by_role("region", name="Путь заказа")
    steps = told.locator(".steps li")
    for position, texts in enumerate(
        [
            ("Опубликован", "4 мар. 2026 г.", "14:06:07,100"),
            ("Прочитан", "14:06:07,120", "+20 мс"),
            ("Проверен", "14:06:07,120", "+0,5 мс"),
            ("Записан", "14:06:07,130", "+9,5 мс"),
            ("В кэше", "5 мар. 2026 г.", "14:05:17,100", "+23 ч 59 мин"),
        ]
    ):
        for text in texts:
            await expect(steps.nth(position)).to_contain_text(text)
    await expect(told).to_contain_text("23 ч 59 мин от публикации до кэша")
    for name, copied in (
        ("Копировать id пакета", str(BATCH_ID)),
        ("Копировать воркер и хост", "worker-1@a-host"),
        ("Копировать топик, партицию и офсет", f"{settings.kafka_topic} 2:57"),
        ("Копировать id трейса", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ):
        await told.get_by_role("button", name=name).click()
        await expect(told.locator(".copied")).to_have_count(1)
        assert await page.evaluate("navigator.clipboard.readText()") == copied
        await expect(told.locator(".copied")).to_have_count(0)
    await context.close()


async def test_what_went_another_way_is_told_as_it_was(
    page: Page, server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """A repeat, a replay, a batch that is gone, an order by hand; and dead letters with what became of them."""
    await store_batch(database, settings)
    await store_letter(database, settings, kafka_offset=5, subject="replay", resolved_at=after_ms(29), replay_count=1)
    await store_letter(database, settings, kafka_offset=6, subject="replay", reason="invalid_json")
    await store_written_order(database, "repeat", source_offset=70)
    await store_written_order(database, "replay", source_partition=0, source_offset=5)
    await store_written_order(database, "changed", updated_at=after_ms(29))
    await store_written_order(database, "pruned", batch_id="00000000-0000-0000-0000-000000000009")
    await store_order(database, make_order(OrderGenerator(2), order_uid="by-hand"))
    for uid, told in (
        ("repeat", "The latest message repeated the stored order."),
        ("replay", "It was stored when its dead letter was replayed."),
        ("changed", "First stored on Feb 3, 2026, 04:05:06.789 AM. The steps are those of the last change."),
        ("pruned", "The record of the batch was deleted"),
        ("by-hand", "This order was not written by a worker"),
    ):
        await page.goto(address(server, uid))
        await expect(story(page)).to_contain_text(told)
    await page.goto(address(server, "replay"))
    letters = story(page).locator(".story-letters li")
    await expect(letters).to_have_count(2)
    for text in (f"{settings.kafka_topic} 0:5", "invalid_order", "1 replay", "resolved"):
        await expect(letters.first).to_contain_text(text)
    for text in (f"{settings.kafka_topic} 0:6", "invalid_json", "not resolved"):
        await expect(letters.last).to_contain_text(text)


async def test_what_is_not_cached_yet_can_be_looked_at_again(
    page: Page, server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Without looking the order up again."""
    await store_batch(database, settings, cached_at=None)
    await store_written_order(database, "uid")
    await page.goto(address(server, "uid"))
    last = story(page).locator(".steps li").last
    await expect(last).to_contain_text("not yet")
    await database.execute("INSERT INTO cached_batches VALUES ($1, $2)", BATCH_ID, after_ms(31))
    await last.get_by_role("button", name="Look again").click()
    await expect(last).to_contain_text("+1 ms")
    await expect(page.get_by_role("status")).to_have_text("The story is shown")


async def test_a_story_that_cannot_be_read_leaves_the_order_alone(
    page: Page, server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """It says what is wrong, and a button tries again."""
    await store_batch(database, settings)
    await store_written_order(database, "uid")

    async def unavailable(route: Route) -> None:
        await route.fulfill(status=503, body='{"error":"unavailable"}')

    async def unknown(route: Route) -> None:
        await route.fulfill(status=404, body='{"error":"order_not_found"}')

    async def broken(route: Route) -> None:
        await route.abort()

    for handler, told in (
        (unavailable, "The story cannot be read right now"),
        (unknown, "The story of this order is unknown"),
        (broken, "The story could not be loaded"),
    ):
        await page.route("**/story", handler)
        await page.goto(address(server, "uid"))
        await expect(story(page)).to_contain_text(told)
        await expect(page.get_by_role("heading", level=2)).to_contain_text("uid")
        await expect(page.get_by_role("table")).to_be_visible()
        await story(page).get_by_role("button", name="Try again").click()
        await expect(page.get_by_role("status")).to_contain_text(told)
        await page.unroute("**/story")
        await story(page).get_by_role("button", name="Try again").click()
        await expect(story(page).locator(".steps li")).to_have_count(5)
        await expect(page.get_by_role("heading", name="Story")).to_be_focused()


async def test_a_story_fits_a_phone(
    browser: Browser, server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Nothing sticks out of 390 pixels, however long names are."""
    await store_batch(database, settings, worker="w" * 60, host="h" * 200, consumer_group="g" * 200, topic="t" * 249)
    await store_letter(database, settings, topic="t" * 249, subject="uid", failed_at=after_ms(1))
    await store_written_order(database, "uid")
    context = await browser.new_context(viewport={"width": 390, "height": 844}, locale="ru-RU")
    page = await context.new_page()
    await page.goto(address(server, "uid"))
    await expect(page.locator(".story-letters li")).to_have_count(1)
    right = "Math.max(...[...document.querySelectorAll('.story *')].map((one) => one.getBoundingClientRect().right))"
    assert await page.evaluate(right) <= 390 - 16
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await context.close()
