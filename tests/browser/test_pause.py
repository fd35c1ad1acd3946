"""Pausing and resuming on the page of live operations, over the real system."""

import asyncpg
from playwright.async_api import Locator, Page, expect

from tests.support.programs import Programs

TOKEN = "the admin's token"


def pauses(page: Page) -> Locator:
    return page.get_by_role("list", name="Paused")


async def confirm(page: Page, name: str) -> None:
    await page.get_by_role("dialog").get_by_role("button", name=name).click()


async def test_an_operator_pauses_a_partition_then_everything_and_resumes(
    orderflow: Programs, page: Page, database: asyncpg.Connection
) -> None:
    """The page asks for the token and for a confirmation, and says what is paused until it is resumed."""
    engine = await orderflow.start("engine", "--workers", "1")
    await engine.wait_for("partition_opened", count=4)
    server = await orderflow.start("serve", ADMIN_TOKEN=TOKEN)
    await page.goto(f"{(await server.wait_for('http_listening'))['url']}/operations")
    lags = page.get_by_role("table", name="Lag by partition")
    await expect(lags.get_by_role("row")).to_have_count(5)
    await expect(page.get_by_role("button", name="Pause everything")).to_have_count(0)
    await page.get_by_role("button", name="Enter token").click()
    await page.get_by_role("textbox", name="Token").fill(TOKEN)
    await page.keyboard.press("Enter")

    await page.get_by_role("button", name="Pause: Partition 2").click()
    await confirm(page, "Cancel")
    assert await database.fetchval("SELECT count(*) FROM pauses") == 0
    await page.get_by_role("button", name="Pause: Partition 2").click()
    await confirm(page, "Pause")
    await expect(pauses(page)).to_contain_text("Partition 2 is paused")
    await expect(pauses(page)).to_contain_text("by HTTP from 127.0.0.1 · nothing of it is in flight")
    await expect(lags.get_by_role("row").filter(has_text="paused")).to_have_count(1)

    await page.get_by_role("button", name="Pause everything").click()
    await confirm(page, "Pause")
    await expect(pauses(page)).to_contain_text("Everything is paused")
    await expect(page.get_by_role("table", name="Workers")).to_contain_text("paused")
    engine_card = page.get_by_role("list", name="Services").get_by_role("listitem").filter(has_text="Engine")
    await expect(engine_card).to_contain_text("Healthy")
    await expect(pauses(page).get_by_role("button")).to_have_count(1)

    await pauses(page).get_by_role("button", name="Resume").click()
    await confirm(page, "Resume")
    await expect(pauses(page)).to_have_count(0)
    await expect(lags.get_by_role("row").filter(has_text="paused")).to_have_count(0)
    await engine.wait_for("partitions_resumed")
