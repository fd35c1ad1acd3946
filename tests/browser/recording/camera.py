"""Takes a page's picture in both themes, under a bar that says where we are and what is to be seen."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape

from PIL import Image
from playwright.async_api import Browser, Page

from tests.browser.recording.film import THEMES, Pictures

WIDTH, HEIGHT, BAR = 1024, 600, 40
SCALE = 1.25
SIZE = (round(WIDTH * SCALE), round((HEIGHT + BAR) * SCALE))
_BAR = """<!doctype html><style>
html { color-scheme: light dark; }
:root { --ground: #e4eae6; --line: #cfd8d3; --pill: #ffffff; --ink: #3d4b45; --word: #0a5c42; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #1b2521; --line: #2b3833; --pill: #0d1311; --ink: #b9c8c1; --word: #7fe0b4; }
}
body { margin: 0; height: 39px; border-bottom: 1px solid var(--line); background: var(--ground); color: var(--ink);
  display: flex; align-items: center; gap: 14px; padding: 0 16px; font: 14px "DejaVu Sans", "Noto Sans", sans-serif; }
i { width: 11px; height: 11px; border-radius: 50%%; background: var(--line); margin-right: -7px; }
code { font: 13.5px "Liberation Mono", "DejaVu Sans Mono", monospace; background: var(--pill); border-radius: 12px;
  padding: 4px 14px; margin-left: 8px;
  white-space: nowrap; overflow: hidden; max-width: 480px; box-sizing: border-box; }
b { margin-left: auto; color: var(--word); white-space: nowrap; }
</style><i></i><i></i><i></i><code>%s</code><b>%s</b>"""


class Camera:
    """Photographs any page, `WIDTH` by `HEIGHT`, for pictures of `SIZE` pixels."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._bars: dict[tuple[str, str], Pictures] = {}

    @asynccontextmanager
    async def page(self, height: int = HEIGHT) -> AsyncIterator[Page]:
        """Provide an empty page of an English reader, of the right size."""
        context = await self._browser.new_context(
            locale="en-US",
            timezone_id="UTC",
            viewport={"width": WIDTH, "height": height},
            device_scale_factor=SCALE,
        )
        yield await context.new_page()
        await context.close()

    async def shoot(self, page: Page, where: str, caption: str) -> Pictures:
        """Return pictures of this moment."""
        bars, seen = await self._bar(where, caption), await _both(page)
        pictures = {}
        for theme in THEMES:
            picture = Image.new("RGB", SIZE)
            picture.paste(bars[theme], (0, 0))
            picture.paste(seen[theme], (0, bars[theme].height))
            pictures[theme] = picture
        return pictures

    async def _bar(self, where: str, caption: str) -> Pictures:
        if (where, caption) not in self._bars:
            async with self.page(BAR) as page:
                await page.set_content(_BAR % (escape(where), escape(caption)))
                self._bars[where, caption] = await _both(page)
        return self._bars[where, caption]


async def _both(page: Page) -> Pictures:
    pictures = {}
    for theme in THEMES:
        await page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        taken = await page.screenshot(animations="disabled", caret="hide")
        pictures[theme] = Image.open(io.BytesIO(taken)).convert("RGB")
    return pictures
