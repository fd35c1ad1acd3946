"""The whole way: published to Kafka, taken in by the engine, shown by the page."""

import asyncio

from playwright.async_api import Page, expect

from tests.support.programs import Programs


async def test_a_published_order_reaches_the_page(orderflow: Programs, page: Page) -> None:
    """`orderflow publish` prints a uid; a little later the page shows that order."""
    engine = await orderflow.start("engine", "--workers", "1")
    server = await orderflow.start("serve")
    url = (await server.wait_for("http_listening"))["url"]
    published = await orderflow.run("publish", "3", "--seed", "41")
    assert published.returncode == 0, published.stderr
    uids = published.lines[1:4]
    await engine.wait_for("batch_committed", timeout_s=60)

    await page.goto(f"{url}/?order={uids[-1]}")
    card = page.get_by_role("article")
    retry = page.get_by_role("button", name="Get order")
    async with asyncio.timeout(20):
        while not await card.count():
            await retry.click()
            await page.wait_for_timeout(100)
    await expect(card.get_by_role("heading", level=2)).to_contain_text(uids[-1])
    async with asyncio.timeout(20):
        while (health := await page.request.get(f"{url}/healthz")).status != 200:
            await page.wait_for_timeout(100)
    assert set((await health.json())["checks"]) == {"postgresql", "redis", "kafka", "engine", "dead_letters"}
    assert await server.stop() == 0
    assert await engine.stop() == 0
