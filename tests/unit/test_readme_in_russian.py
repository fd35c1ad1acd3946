"""README.ru.md says what README.md says: the same commands, the same tables, the same links."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH, RUSSIAN = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ru.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"(?:^|\s+)# .*$", re.MULTILINE)


def prose(readme: str) -> str:
    return BLOCK.sub("", readme)


def commands(readme: str) -> list[str]:
    """Return the blocks for a shell, without their comments."""
    return [COMMENT.sub("", text) for language, text in BLOCK.findall(readme) if language]


def drawings(readme: str) -> list[int]:
    """Return the blocks that are no commands, by their numbers of lines: their words are translated."""
    return [text.count("\n") for language, text in BLOCK.findall(readme) if not language]


def outline(readme: str) -> list[str]:
    """Return headings, tables and pictures in their order: what the text consists of."""
    return re.findall(r"^(#+ |- \*\*|\|---|<picture>)", prose(readme), re.MULTILINE)


def tables(readme: str) -> list[tuple[int, int]]:
    """Return how many rows and columns every table has."""
    blocks = re.findall(r"(?:^\|.*\n)+", prose(readme), re.MULTILINE)
    return [(len(rows), rows[0].count("|")) for rows in (block.splitlines() for block in blocks)]


def code(readme: str) -> set[str]:
    """Return what the text names: settings, options, files, routes."""
    return set(re.findall(r"`([^`\n]+)`", prose(readme)))


def links(readme: str) -> list[str]:
    """Return what it leads to and shows, but for the other README and places within this one."""
    found = re.findall(r"\]\(([^)#][^)]*)\)", prose(readme)) + re.findall(r'src(?:set)?="([^"]+)"', prose(readme))
    return sorted(link for link in found if not link.startswith("README"))


@pytest.mark.parametrize("part", [commands, drawings, outline, tables, code, links])
def test_both_have_the_same(part: Callable[[str], object]) -> None:
    """Whoever changes one README changes the other."""
    assert part(ENGLISH)
    assert part(RUSSIAN) == part(ENGLISH)


def test_each_leads_to_the_other() -> None:
    """At its top."""
    assert "[Русский](README.ru.md)" in ENGLISH.splitlines()[2]
    assert "[English](README.md)" in RUSSIAN.splitlines()[2]
