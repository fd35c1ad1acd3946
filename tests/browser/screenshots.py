"""Takes the pictures of the documentation: every page, wide and on a phone, light and dark. `make screenshots`."""

from pathlib import Path

import asyncpg
from playwright.async_api import Browser, Page

from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.programs import Programs

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDTHS = {1280: 800, 390: 844}
MESSAGES = 6000
SETTLES_MS = 2500


async def test_take_screenshots(
    orderflow: Programs, settings: Settings, database: asyncpg.Connection, browser: Browser
) -> None:
    """All while orders come in, a few of them broken."""
    await orderflow.start("engine", "--workers", "2")
    server = await orderflow.start("serve", ADMIN_TOKEN="a token for pictures")
    root = (await server.wait_for("http_listening"))["url"]
    shares = ("--invalid", "0.02", "--repeat", "0.05")
    await orderflow.start("publish", str(MESSAGES), "--rate", "120", *shares, "--seed", "4")
    total = "SELECT coalesce(sum(messages), 0) FROM batches"
    await eventually(lambda: database.fetchval(total), lambda found: found >= MESSAGES // 4, 60)
    uid = await database.fetchval("SELECT order_uid FROM order_items GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1")
    letter = await database.fetchrow(
        "SELECT partition, kafka_offset FROM dead_letters WHERE reason = 'invalid_order' AND subject IS NOT NULL "
        "ORDER BY octet_length(payload) DESC, 1, 2 LIMIT 1"
    )
    pages = {
        "orders": "/",
        "order": f"/?order={uid}",
        "operations": "/operations",
        "dead-letters": "/dead-letters",
        "dead-letter": f"/dead-letters?letter={letter['partition']}:{letter['kafka_offset']}",
    }
    for name, path in pages.items():
        for width, height in WIDTHS.items():
            for theme in ("light", "dark"):
                context = await browser.new_context(
                    locale="en-US",
                    color_scheme="dark" if theme == "dark" else "light",
                    viewport={"width": width, "height": height},
                )
                await _take(await context.new_page(), f"{root}{path}", IMAGES / f"{name}-{width}-{theme}.png")
                await context.close()


async def _take(page: Page, address: str, path: Path) -> None:
    await page.goto(address)
    await page.wait_for_timeout(SETTLES_MS)  # live values and transitions: a picture needs no signal
    await page.screenshot(path=path, full_page=True)
