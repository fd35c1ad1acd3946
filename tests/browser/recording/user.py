"""Somebody who looks at a page, points, clicks, types and scrolls, and is filmed."""

import asyncio
from collections.abc import Callable

import attrs
from PIL import Image, ImageDraw
from playwright.async_api import Locator, Page

from tests.browser.recording.camera import BAR, SCALE, Camera
from tests.browser.recording.film import Film, Pictures

_STEPS = 7
_STEP_MS = 45
_KEY_MS = 40
_CLICK_MS = 160
_SLOWEST_MS = 1000
_FINE = 4
"""The pointer is drawn this much larger, then made smaller: its edges become smooth."""
_ARROW = ((0, 0), (0, 17), (4, 13.2), (6.8, 19.6), (9.6, 18.4), (6.9, 12.2), (12.2, 12.2))
_RING_PX = 22
Point = tuple[float, float]


@attrs.define
class User:
    """`at` is the pointer's place, in CSS pixels of the page; `where` and `caption` stand in the bar."""

    camera: Camera
    film: Film
    page: Page
    where: Callable[[], str]
    caption: str = ""
    at: Point = (900.0, 520.0)

    async def look(self, for_ms: float) -> Pictures:
        """Look at the page as it is now, for so long."""
        pictures = await self._see()
        self.film.show(_pointed(pictures, self.at), for_ms)
        return pictures

    async def watch(self, for_s: float) -> None:
        """Look at what changes by itself, in its own time. A machine that is slow to take pictures stops no picture."""
        clock = asyncio.get_running_loop().time
        now, end = clock(), clock() + for_s
        while now < end:
            pictures = await self._see()
            began, now = now, clock()
            self.film.show(_pointed(pictures, self.at), min(1000 * (now - began), _SLOWEST_MS))

    async def point(self, target: Locator) -> None:
        """Move the pointer to the middle of `target`, and see what that does."""
        box = await target.bounding_box()
        assert box is not None, f"{target} is not to be seen"
        goal = (box["x"] + min(box["width"] / 2, 140), box["y"] + box["height"] / 2)
        pictures, (left, top) = await self._see(), self.at
        for step in range(1, _STEPS):
            share = step / _STEPS
            eased = share * share * (3 - 2 * share)
            self.film.show(
                _pointed(pictures, (left + (goal[0] - left) * eased, top + (goal[1] - top) * eased)), _STEP_MS
            )
        self.at = goal
        await self.page.mouse.move(*goal)
        await self.look(_STEP_MS)

    async def click(self, target: Locator) -> None:
        """Point and click."""
        await self.point(target)
        self.film.show(_pointed(await self._see(), self.at, pressed=True), _CLICK_MS)
        await self.page.mouse.click(*self.at)

    async def type(self, text: str) -> None:
        """Type into what has the focus."""
        for begin in range(0, len(text), 2):
            await self.page.keyboard.type(text[begin : begin + 2])
            await self.look(2 * _KEY_MS)

    async def scroll(self, target: Locator, steps: int = 6, leave: int = 24) -> None:
        """Scroll until `target` is at the top of the window, or as far as the page goes."""
        top, end = await target.evaluate(
            "(element, leave) => [scrollY, Math.min(scrollY + element.getBoundingClientRect().top - leave,"
            " document.documentElement.scrollHeight - innerHeight)]",
            leave,
        )
        for step in range(1, steps + 1):
            share = step / steps
            await self.page.evaluate("top => scrollTo(0, top)", top + (end - top) * share * (2 - share))
            await self.look(70)

    async def _see(self) -> Pictures:
        return await self.camera.shoot(self.page, self.where(), self.caption)


def _pointed(pictures: Pictures, at: Point, *, pressed: bool = False) -> Pictures:
    """Return the pictures with the pointer in them."""
    left, top = (round(at[0] * SCALE), round((at[1] + BAR) * SCALE))
    pointer = _pointer(pressed=pressed)
    marked = {theme: picture.copy() for theme, picture in pictures.items()}
    for picture in marked.values():
        picture.paste(pointer, (left - _RING_PX, top - _RING_PX), pointer)
    return marked


def _pointer(*, pressed: bool) -> Image.Image:
    """Return an arrow whose tip is `_RING_PX` from the left and the top, with a ring around it when pressed."""
    size = 2 * _RING_PX + 8
    image = Image.new("RGBA", (size * _FINE, size * _FINE))
    draw = ImageDraw.Draw(image)
    middle = _RING_PX * _FINE
    if pressed:
        draw.ellipse(
            (2, 2, 2 * middle - 2, 2 * middle - 2), fill=(69, 196, 141, 90), outline=(11, 110, 79, 255), width=8
        )
    points = [(middle + x * SCALE * _FINE, middle + y * SCALE * _FINE) for x, y in _ARROW]
    draw.polygon(points, fill=(20, 26, 24, 255))
    draw.line([*points, points[0], points[1]], fill=(255, 255, 255, 255), width=6, joint="curve")
    return image.resize((size, size), Image.Resampling.LANCZOS)
