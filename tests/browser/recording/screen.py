"""What a terminal shows, drawn by a page of the browser."""

from collections.abc import Iterator
from html import escape
from itertools import groupby

import pyte
from playwright.async_api import Page
from pyte.screens import Char

from tests.browser.recording.shell import COLUMNS, ROWS

_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1f2a25; --green: #0b6e4f; --cursor: #56655e; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0d1311; --ink: #dbe5e0; --green: #45c48d; --cursor: #9bada5; }
}
body { margin: 0; padding: 14px 18px; background: var(--ground); color: var(--ink); overflow: hidden; }
#screen { font: 15.5px/22px "Liberation Mono", "DejaVu Sans Mono", monospace; }
#screen div { height: 22px; width: max-content; white-space: pre; }
.green { color: var(--green); font-weight: bold; }
.cursor { background: var(--cursor); color: var(--ground); }
"""


class TerminalScreen:
    """A terminal's screen, on a page of its own."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)

    async def open(self) -> None:
        """Draw the empty screen."""
        await self.page.set_content(f'<!doctype html><style>{_STYLE}</style><div id="screen"></div>')

    async def feed(self, written: bytes) -> None:
        """Draw what the terminal shows once `written` has come, too."""
        self._stream.feed(written)
        rows = "".join(f"<div>{self._row(number)}</div>" for number in range(ROWS))
        await self.page.eval_on_selector("#screen", "(screen, rows) => { screen.innerHTML = rows }", rows)

    def _row(self, number: int) -> str:
        return "".join(
            f'<span class="{look}">{text}</span>' if look else text for look, text in self._pieces(number)
        ).rstrip()

    def _pieces(self, number: int) -> Iterator[tuple[str, str]]:
        """Yield the row's texts with their looks, from left to right."""
        row = self._screen.buffer[number]
        cells = [(self._look(row[column], (number, column)), row[column].data) for column in range(COLUMNS)]
        for look, group in groupby(cells, key=lambda cell: cell[0]):
            yield look, escape("".join(data for _, data in group))

    def _look(self, cell: Char, place: tuple[int, int]) -> str:
        if place == (self._screen.cursor.y, self._screen.cursor.x):
            return "cursor"
        return "green" if cell.fg == "green" else ""
