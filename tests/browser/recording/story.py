"""What is to be seen: the demo starts, an order, its story, a search, live operations, a dead letter, the stop."""

import asyncio
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from playwright.async_api import Page, expect

from tests.browser.recording.camera import Camera
from tests.browser.recording.film import Film
from tests.browser.recording.screen import TerminalScreen
from tests.browser.recording.shell import Shell, running_shell
from tests.browser.recording.user import User

_LONGEST_PAUSE_MS = 500
_SHORTEST_FRAME_S = 0.06
_START_S, _STOP_S = 180, 60
_PAGE_MS = 15_000
_PUBLISH = ".venv/bin/orderflow publish 50000 --rate 400 --invalid 0.03"


async def film_the_demo(film: Film, camera: Camera, folder: Path, environment: Mapping[str, str]) -> None:
    """Run the demo in `folder` and film it from its start to its end."""
    expect.set_options(timeout=_PAGE_MS)
    async with running_shell(folder, environment) as shell, camera.page() as terminal, camera.page() as page:
        user = User(camera, film, terminal, lambda: "Terminal")
        screen = await _opened(terminal)
        user.caption = "One command starts everything (waits shortened)"
        await shell.type("make demo")
        shell.enter()
        await shell.wait_for("Ctrl-C stops everything", _START_S)
        seen = await _replay(shell, screen, user, 0)
        await _open_the_order(shell, user, page)
        await _find(user)
        async with running_shell(folder, environment) as second:
            await _publish(second, shell, user, camera)
            await _watch(user, page)
            await _show_a_dead_letter(user)
        user.page, user.where, user.caption = terminal, lambda: "Terminal", "Ctrl-C stops everything"
        shell.interrupt()
        await shell.wait_until_idle(_STOP_S)
        await _replay(shell, screen, user, seen)
        await user.look(1500)


async def _opened(page: Page) -> TerminalScreen:
    screen = TerminalScreen(page)
    await screen.open()
    return screen


async def _replay(shell: Shell, screen: TerminalScreen, user: User, begin: int) -> int:
    """Show what the shell has written since `begin`, in its own time, but with no long pause; return where it ends."""
    end, elapsed_s = len(shell.output), 0.0
    for (now, chunk), (then, _) in pairwise([*shell.output[begin:end], (float("inf"), b"")]):
        await screen.feed(chunk)
        elapsed_s += then - now
        if elapsed_s >= _SHORTEST_FRAME_S:
            await user.look(min(1000 * elapsed_s, _LONGEST_PAUSE_MS))
            elapsed_s = 0
    return end


async def _open_the_order(shell: Shell, user: User, page: Page) -> None:
    link = re.search(r"An order:  (\S+)", shell.text)
    assert link is not None, shell.text
    await user.look(1000)
    await user.click(user.page.get_by_text(link[1]))
    user.page, user.where, user.caption = page, lambda: page.url.removeprefix("http://"), "An order, as it was stored"
    await page.goto(link[1])
    story = page.get_by_role("region", name="Story")
    await expect(story.locator(".steps time")).to_have_count(5)
    await user.look(1700)
    user.caption = "Its way from Kafka to the cache"
    await user.scroll(story)
    await user.look(1700)


async def _find(user: User) -> None:
    page = user.page
    await page.evaluate("scrollTo(0, 0)")
    user.caption = "The newest orders, and a search"
    await user.click(page.get_by_role("link", name="Orders", exact=True))
    lines = page.get_by_role("listitem").get_by_role("link")
    await expect(lines).to_have_count(20)
    await user.look(1000)
    answer = await page.request.get(f"{page.url.partition('?')[0]}orders?limit=5")
    await user.click(page.get_by_role("textbox").first)
    await user.type((await answer.json())["orders"][2]["customer_id"])
    await user.click(page.get_by_role("button", name="Get order"))
    await expect(page.get_by_role("heading", name="Orders of customer")).to_be_visible()
    await user.look(1200)


async def _publish(second: Shell, first: Shell, user: User, camera: Camera) -> None:
    page, where = user.page, user.where
    export = re.search(r"^export .*?$", first.text.replace("\r", ""), re.MULTILINE)
    async with camera.page() as terminal:
        screen = await _opened(terminal)
        user.page, user.where, user.caption = terminal, lambda: "Another terminal", "More orders, some of them broken"
        if export is not None:
            second.paste(export[0])
            second.enter()
        await second.type(_PUBLISH)
        seen = await _replay(second, screen, user, 0)
        second.enter()
        await second.wait_for("Published Order UIDs", 30)
        await asyncio.sleep(1)
        await _replay(second, screen, user, seen)
    user.page, user.where = page, where


async def _watch(user: User, page: Page) -> None:
    user.caption = "Live operations"
    await user.click(page.get_by_role("link", name="Operations", exact=True))
    await expect(page.locator("#live")).to_contain_text("Live")
    await user.watch(4)


async def _show_a_dead_letter(user: User) -> None:
    page = user.page
    user.caption = "Dead letters: why, and where"
    await user.click(page.get_by_role("link", name="Dead letters", exact=True))
    lines = page.get_by_role("listitem").get_by_role("link")
    await expect(lines.first).to_be_visible()
    await user.look(1200)
    await user.click(lines.filter(has_text="Invalid order").first)
    letter = page.get_by_role("article")
    await expect(letter).to_be_visible()
    await user.look(400)
    await user.scroll(letter)
    await user.look(1300)
    await user.click(letter.locator(".letter-errors button").first)
    await user.watch(0.9)
    await user.look(1800)
