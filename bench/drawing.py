"""Draws two kinds of figures as SVG: bars with a range, and ratios with an interval.

They are legible on a narrow screen: names stand above what they name, and a figure is as wide as a telephone. The same
input gives the same bytes.
"""

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

import attrs

WIDTH = 440
_MARGIN, _TEXT, _BAR = 8, 15, 12
_ROW, _HEADING = 46, 34


@attrs.frozen
class Palette:
    """The colours of a theme. The background is the page's."""

    ink: str
    muted: str
    ours: str
    others: str


LIGHT = Palette(ink="#1f2328", muted="#59636e", ours="#0a7d91", others="#87919b")
DARK = Palette(ink="#e6edf3", muted="#a3adb8", ours="#3fb6c9", others="#6f7a86")


@attrs.frozen
class Bar:
    """A bar: a median with the range of its rounds."""

    name: str
    value: float
    low: float
    high: float
    ours: bool = False


@attrs.frozen
class Ratio:
    """A ratio with its 95 % interval."""

    name: str
    value: float
    low: float
    high: float


def bars(title: str, groups: Sequence[tuple[str, Sequence[Bar]]], palette: Palette) -> str:
    """Draw groups of bars on one scale, which begins at 0. A group without a name gets no heading."""
    scale = (WIDTH - 2 * _MARGIN) / max(bar.high for _, group in groups for bar in group)
    parts: list[str] = []
    top: float = _MARGIN
    for heading, group in groups:
        if heading:
            parts.append(_text(_MARGIN, top + 20, heading, palette.ink, weight=600))
            top += _HEADING
        for bar in group:
            parts += _bar(bar, top, scale, palette)
            top += _ROW
    return _svg(title, top, parts)


def _bar(bar: Bar, top: float, scale: float, palette: Palette) -> Iterator[str]:
    yield from _named(bar.name, f"{bar.value:,.0f}", top, palette)
    middle = top + 22 + _BAR / 2
    colour = palette.ours if bar.ours else palette.others
    yield f'<rect x="{_MARGIN}" y="{top + 22}" width="{_number(bar.value * scale)}" height="{_BAR}" fill="{colour}"/>'
    yield _interval(_MARGIN + bar.low * scale, _MARGIN + bar.high * scale, middle, palette.ink)


def ratios(title: str, rows: Sequence[Ratio], ticks: Sequence[float], palette: Palette) -> str:
    """Draw each ratio on a logarithmic scale from the first to the last of `ticks`. 1 is marked: no difference."""
    first, last = math.log(ticks[0]), math.log(ticks[-1])

    def at(value: float) -> float:
        return _MARGIN + (math.log(value) - first) / (last - first) * (WIDTH - 2 * _MARGIN)

    top: float = _HEADING
    parts = []
    for tick in ticks:
        anchor = {ticks[0]: "start", ticks[-1]: "end"}.get(tick, "middle")
        parts.append(_text(at(tick), 20, f"× {tick:g}", palette.muted, anchor=anchor))
    for row in rows:
        parts += _named(row.name, f"{row.value:.2f}", top, palette)
        # No line crosses a name.
        parts += [
            _line(at(tick), top + 21, at(tick), top + 37, palette.muted, 2 if tick == 1 else 0.75) for tick in ticks
        ]
        colour = palette.ours if row.low > 1 else palette.ink
        parts.append(_interval(at(row.low), at(row.high), top + 29, colour))
        parts.append(f'<circle cx="{_number(at(row.value))}" cy="{_number(top + 29)}" r="5" fill="{colour}"/>')
        top += _ROW
    return _svg(title, top + _MARGIN, parts)


def _named(name: str, value: str, top: float, palette: Palette) -> Iterator[str]:
    yield _text(_MARGIN, top + 15, name, palette.ink)
    yield _text(WIDTH - _MARGIN, top + 15, value, palette.ink, anchor="end", weight=600)


def _text(x: float, y: float, text: str, colour: str, *, anchor: str = "start", weight: int = 400) -> str:
    place = f'x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}"'
    return f'<text {place} font-weight="{weight}" fill="{colour}">{escape(text)}</text>'


def _interval(begin: float, end: float, middle: float, colour: str) -> str:
    caps = "".join(_line(x, middle - 5, x, middle + 5, colour, 1.5) for x in (begin, end))
    return _line(begin, middle, end, middle, colour, 1.5) + caps


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    ends = " ".join(f'{name}="{_number(at)}"' for name, at in (("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2)))
    return f'<line {ends} stroke="{colour}" stroke-width="{_number(width)}"/>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    size = f'width="{WIDTH}" height="{_number(height)}" viewBox="0 0 {WIDTH} {_number(height)}"'
    font = f'font-family="system-ui, sans-serif" font-size="{_TEXT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", *parts, "</svg>", ""])


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
