"""A real Chromium for the tests of the page."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright

SKIP_VARIABLE = "ORDERFLOW_SKIP_BROWSER"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_browser() -> str:
    """Return the path of the machine's browser.

    Without a browser the test fails, because the page would not be tested. `ORDERFLOW_SKIP_BROWSER=1` skips the test.
    """
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is not None:
        return path
    missing = f"there is no browser ({', '.join(_NAMES)}) on this machine: THE PAGE IS NOT TESTED"
    if os.environ.get(SKIP_VARIABLE) == "1":
        pytest.skip(f"{missing} ({SKIP_VARIABLE}=1)")
    pytest.fail(f"{missing}. Install Chromium, or set {SKIP_VARIABLE}=1 to go without", pytrace=False)


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Provide Chromium, and stop it afterwards."""
    path = find_browser()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield browser
        finally:
            await browser.close()
