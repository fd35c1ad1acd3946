"""One Chromium for all tests of the page, and a fresh profile for each."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page

from orderflow.start.settings import Settings
from tests.support.browser import running_browser
from tests.support.lookup_server import LookupServer, lookup_server


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as running:
        yield running


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """Provide an empty page of an English reader. A script error on it, or a breach of its policy, fails the test."""
    context = await browser.new_context(locale="en-US", timezone_id="UTC")
    page = await context.new_page()
    page.set_default_timeout(10_000)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if "Content Security" in message.text else None)
    yield page
    await context.close()
    assert troubles == []


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[LookupServer]:
    """Run the application with the defaults. A file of tests may have a server of its own."""
    async with lookup_server(settings) as running:
        yield running
