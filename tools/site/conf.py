"""How Sphinx makes the site of the documentation: `make docs`. It runs in an environment of its own."""

import sys
from pathlib import Path
from shutil import copyfile
from typing import Any

from pygments.lexers import PostgresLexer

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.site.pages import HOME, page_of_site

project = "orderflow"
html_title = "orderflow"
root_doc = HOME
# The pages stay where a forge shows them: the root of the repository is the source.
include_patterns = ["*.md", "docs/**.md", "findings/README.md"]
exclude_patterns = [".*", "site", "tests", "ui"]

extensions = ["myst_parser"]
myst_heading_anchors = 4
highlight_language = "text"

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "primary_sidebar_end": [],
    "footer_start": [],
    "footer_end": [],
    "search_bar_text": "Search",
    "show_toc_level": 2,
    "pygments_light_style": "github-light",
    "pygments_dark_style": "github-dark",
}
html_context = {"default_mode": "auto"}
html_sidebars = {"**": ["contents.html"]}
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_favicon = "../../ui/common/icon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_use_index = False
html_domain_indices = False


def setup(app: Any) -> None:
    """Ask Sphinx to call the functions below."""
    app.add_lexer("sql", PostgresLexer)
    app.connect("source-read", _read)
    app.connect("html-page-context", _describe)
    app.connect("build-finished", _finish)


def _read(app: Any, page: str, source: list[str]) -> None:
    source[0] = page_of_site(page, source[0], Path(app.srcdir))


def _describe(_app: Any, page: str, _template: str, context: dict[str, Any], _tree: object) -> None:
    if page.endswith(".ru"):
        context["language"] = "ru"


def _finish(app: Any, failure: Exception | None) -> None:
    if failure is None:
        copyfile(Path(app.outdir, f"{HOME}.html"), Path(app.outdir, "index.html"))
