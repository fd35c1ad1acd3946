"""The pictures that the READMEs show are there, are not heavy, and the recording moves."""

import re
import struct
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.ru.md")
MAX_BYTES = 2_500_000
LONGEST_MS = 40_000


def pictures(readme: str) -> list[str]:
    text = (ROOT / readme).read_text(encoding="utf-8")
    return re.findall(r'(?:src|srcset)="([^"]+)"', text) + re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)


def chunks(webp: bytes) -> list[tuple[bytes, bytes]]:
    """Return a WebP file's chunks: their names and what they hold."""
    name, size, form = struct.unpack_from("<4sI4s", webp)
    assert (name, form, size + 8) == (b"RIFF", b"WEBP", len(webp))
    found, begin = [], 12
    while begin < len(webp):
        chunk, length = struct.unpack_from("<4sI", webp, begin)
        found.append((chunk, webp[begin + 8 : begin + 8 + length]))
        begin += 8 + length + length % 2
    return found


@pytest.mark.parametrize("readme", READMES)
def test_every_picture_is_there_and_small_enough_to_load(readme: str) -> None:
    """Nobody waits for a README."""
    assert pictures(readme)
    for path in pictures(readme):
        assert 0 < (ROOT / path).stat().st_size <= MAX_BYTES, path


@pytest.mark.parametrize("readme", READMES)
def test_the_recording_is_shown_in_both_themes_and_described(readme: str) -> None:
    """Whoever cannot see it reads what happens in it."""
    shown = [path for path in pictures(readme) if path.endswith(".webp")]
    assert shown == ["docs/images/demo-dark.webp", "docs/images/demo-light.webp"]
    text = (ROOT / readme).read_text(encoding="utf-8")
    assert re.search(r'<img alt="[^"]{60,}"\s+src="docs/images/demo-light.webp"', text)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_recording_moves_and_begins_again(theme: str) -> None:
    """It is an animated WebP of 1280 by 800 pixels that loops for ever, and not for minutes."""
    found = chunks((ROOT / "docs" / "images" / f"demo-{theme}.webp").read_bytes())
    head = found[0][1]
    assert found[0][0] == b"VP8X"
    assert head[0] & 0b10, "it is not animated"
    assert [int.from_bytes(head[at : at + 3], "little") + 1 for at in (4, 7)] == [1280, 800]
    assert [struct.unpack_from("<H", held, 4)[0] for name, held in found if name == b"ANIM"] == [0]
    durations_ms = [int.from_bytes(held[12:15], "little") for name, held in found if name == b"ANMF"]
    assert len(durations_ms) > 50
    assert 15_000 <= sum(durations_ms) <= LONGEST_MS
