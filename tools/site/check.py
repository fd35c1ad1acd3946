"""`python -m tools.site.check FOLDER`: whether the links of a built site lead somewhere, and it needs no network."""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {"script": "src", "img": "src", "source": "srcset", "iframe": "src", "link": "href"}
"""What a browser fetches by itself when it shows a page."""


class _Page(HTMLParser):
    """The anchors of a page, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors = {""}
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := told.get(name))}
        if tag == "a" and (link := told.get("href")):
            self.links.add(link)
        elif tag in _LOADED and (link := told.get(_LOADED[tag])):
            self.loads.add(link)


def faults(site: Path) -> Iterator[str]:
    """Yield a line for each link that leads nowhere, and for each thing that a page would load from another host."""
    pages = {path.resolve(): _Page(path.read_text(encoding="utf-8")) for path in _pages(site)}
    if not pages:
        yield f"{site}: there are no pages"
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        yield from (f"{name}: loads {link} from another host" for link in sorted(page.loads) if _is_elsewhere(link))
        for link in sorted(page.links | page.loads):
            if not _is_elsewhere(link) and not _leads_somewhere(path, link, pages):
                yield f"{name}: {link} leads nowhere"
    for style in sorted(site.rglob("*.css")):
        if "url(http" in style.read_text(encoding="utf-8").replace('"', "").replace("'", ""):
            yield f"{style.relative_to(site)}: loads something from another host"


def _pages(site: Path) -> list[Path]:
    """Return the pages. The theme leaves a template of its own below `_static`."""
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def _is_elsewhere(link: str) -> bool:
    parts = urlsplit(link)
    return bool(parts.netloc) or parts.scheme in {"http", "https"}


def _leads_somewhere(path: Path, link: str, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(link)
    if parts.scheme:
        return parts.scheme in {"data", "mailto"}
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target in pages:
        return unquote(parts.fragment) in pages[target].anchors
    return target.is_file()


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1])))
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    sys.exit(bool(found))
