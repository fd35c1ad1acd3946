"""What turns the Markdown of the repository, which a forge shows as it is, into pages of the site.

Plain functions on a page's text: no Sphinx is needed to call them.
"""

import re
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
HOME = "README"
"""The page that is the site's first one, without `.md` as Sphinx names pages."""
DECISIONS = "docs/decisions/README"
NAVIGATION = (HERE / "navigation.md").read_text(encoding="utf-8")
"""The contents of the site, as the side bar shows them."""
_ALL_DECISIONS = "\n```{toctree}\n:hidden:\n:glob:\n\n0*\n```\n"

_FENCE = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)
_PICTURE = re.compile(
    r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="(?P<dark>[^"]+)">'
    r'\s*<img alt="(?P<alt>[^"]+)" src="(?P<light>[^"]+)">\s*</picture>'
)
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<path>[^)#:\s]+)\)")


def page_of_site(page: str, text: str, root: Path) -> str:
    """Return the text of `page` (its path in `root` without `.md`) as the site needs it."""
    folder = (root / page).parent
    text = outside_code(text, lambda part: _linked(_pictured(part), folder))
    if page == HOME:
        return text + NAVIGATION
    return text + _ALL_DECISIONS if page == DECISIONS else text


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Apply `change` to what stands outside code blocks."""
    return "".join(part if part.startswith("```") else change(part) for part in _FENCE.split(text))


def _pictured(text: str) -> str:
    """Make two images of a picture: the theme, which readers may switch, shows one of them."""
    return _PICTURE.sub(
        lambda found: "\n".join(
            f"```{{image}} {found[theme]}\n:alt: {found['alt']}\n:class: only-{theme}\n:loading: lazy\n```\n"
            for theme in ("light", "dark")
        ),
        text,
    )


def _linked(text: str, folder: Path) -> str:
    """Make plain text of links to folders: the site has none. Links to files become downloads, Sphinx sees to that."""
    return _LINK.sub(lambda found: found["text"] if (folder / found["path"]).is_dir() else found[0], text)
