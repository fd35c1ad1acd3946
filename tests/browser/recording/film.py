"""Pictures one after another, light and dark, and how long each is shown."""

import io
from collections.abc import Mapping
from pathlib import Path

import attrs
from PIL import Image

THEMES = ("light", "dark")
Pictures = Mapping[str, Image.Image]
"""The same moment in each theme."""


@attrs.define
class Film:
    """Frames as files in `folder`, which has to be there."""

    folder: Path
    _durations_ms: list[int] = attrs.field(factory=list, init=False)
    _last: dict[str, bytes] = attrs.field(factory=dict, init=False)

    @property
    def length_s(self) -> float:
        """How long it takes to show it once."""
        return sum(self._durations_ms) / 1000

    def show(self, pictures: Pictures, for_ms: float) -> None:
        """Go on with these pictures. Nothing new to see only lasts longer."""
        seen = {theme: pictures[theme].tobytes() for theme in THEMES}
        if seen == self._last:
            self._durations_ms[-1] += round(for_ms)
            return
        for theme in THEMES:
            pictures[theme].save(self._path(theme, len(self._durations_ms)), compress_level=1)
        self._durations_ms.append(round(for_ms))
        self._last = seen

    def write(self, theme: str) -> bytes:
        """Return one theme as an animated WebP that begins again at its end."""
        first, *others = (Image.open(self._path(theme, number)) for number in range(len(self._durations_ms)))
        written = io.BytesIO()
        first.save(
            written, "WebP", save_all=True, append_images=others, duration=self._durations_ms, loop=0,
            lossless=True, quality=100, method=4, minimize_size=True,
        )  # fmt: skip
        return written.getvalue()

    def _path(self, theme: str, number: int) -> Path:
        return self.folder / f"{theme}-{number:04}.png"
