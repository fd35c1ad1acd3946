"""Every link in the documentation leads somewhere: to a page, a heading of it, or a file of the repository."""

import re
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tools.site.pages import DECISIONS, HOME, NAVIGATION

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for folder in (".", "docs", "docs/decisions", "findings") for path in (ROOT / folder).glob("*.md"))
EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
CODE_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@cache
def text_of(page: Path) -> str:
    return CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Return what a page links to and shows, without what is code."""
    prose = re.sub(r"`[^`\n]*`", "", text_of(page))
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|srcset|href)="([^"]+)"', prose)


@cache
def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as a forge and the site make them."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#+ +(.+)$", text_of(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("\\", "").strip().lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def target(page: Path, link: str) -> Path:
    path = unquote(urlsplit(link).path)
    return (page.parent / path).resolve() if path else page


def local(page: Path) -> list[str]:
    return [link for link in links(page) if not urlsplit(link).scheme]


def fault(page: Path, link: str) -> str | None:
    """Return what is wrong with a link within the repository, if anything is."""
    there, name = target(page, link), unquote(urlsplit(link).fragment)
    if not there.exists():
        return f"{link}: there is no such file"
    if not there.is_relative_to(ROOT):
        return f"{link}: it leads out of the repository"
    return f"{link}: there is no such heading" if name and name not in anchors(there) else None


@EACH
def test_every_link_leads_somewhere(page: Path) -> None:
    """Within the repository, also to a heading."""
    faults = [told for link in local(page) if (told := fault(page, link))]
    assert not faults, "\n".join(faults)


@EACH
def test_every_link_to_elsewhere_names_a_host(page: Path) -> None:
    """Over HTTPS."""
    assert [link for link in links(page) if urlsplit(link).scheme and not re.match(r"https://[\w.-]+\.\w+", link)] == []


def test_the_readme_leads_to_every_page() -> None:
    """Directly, or through other pages."""
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in PAGES and page not in reached:
            reached.add(page)
            waiting += [target(page, link) for link in local(page)]
    assert set(PAGES) - reached == set(), "link to it from a page, a decision from docs/decisions/README.md"


def test_every_page_has_a_place_on_the_site() -> None:
    """In its contents, once; decisions below their list."""
    named = [
        line.rpartition("<")[2].rstrip(">")
        for line in NAVIGATION.splitlines()
        if line and not line.startswith(("```", ":"))
    ]
    pages = [str(page.relative_to(ROOT).with_suffix("")) for page in PAGES]
    placed = {HOME if name == "self" else name for name in named}
    decisions = {page for page in pages if page.startswith("docs/decisions/0")}

    assert DECISIONS in placed
    assert placed == set(pages) - decisions, "tools/site/navigation.md"
    assert len(named) == len(placed)
