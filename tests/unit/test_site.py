"""The Markdown of the repository becomes pages of a site, and what is wrong in a built site is found."""

from pathlib import Path

import pytest

from tools.site.check import faults
from tools.site.pages import HOME, NAVIGATION, page_of_site

PICTURE = """<picture>
  <source media="(prefers-color-scheme: dark)" srcset="images/a-dark.svg">
  <img alt="What it shows" src="images/a-light.svg">
</picture>"""


def test_a_picture_becomes_an_image_for_each_theme(tmp_path: Path) -> None:
    """Both are described; the site's own switch of the theme decides, not the system's alone."""
    page = page_of_site("page", PICTURE, tmp_path)
    for theme in ("light", "dark"):
        assert f"```{{image}} images/a-{theme}.svg\n:alt: What it shows\n:class: only-{theme}\n" in page
    assert "<picture>" not in page


def test_a_link_to_a_folder_becomes_text_and_one_to_a_file_stays(tmp_path: Path) -> None:
    """The site has no folders to show."""
    (tmp_path / "examples").mkdir()
    (tmp_path / "docs").mkdir()
    page = page_of_site("docs/guide", "see [the example](../examples), [its file](../examples/a.py)", tmp_path)
    assert page == "see the example, [its file](../examples/a.py)"


def test_code_is_left_as_it_is(tmp_path: Path) -> None:
    """Also if it looks like a link or a picture."""
    (tmp_path / "folder").mkdir()
    code = f"```\n[a](folder)\n{PICTURE}\n```"
    assert page_of_site("page", f"{code}\n[a](folder)", tmp_path) == f"{code}\na"


def test_the_first_page_has_the_contents(tmp_path: Path) -> None:
    """No other has."""
    assert page_of_site(HOME, "hello", tmp_path) == "hello" + NAVIGATION
    assert page_of_site("docs/http", "hello", tmp_path) == "hello"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('<a href="b.html#there">b</a><img src="a.svg"><a href="https://example.org">c</a>', []),
        ('<a href="c.html">c</a>', ["a.html: c.html leads nowhere"]),
        ('<a href="b.html#gone">b</a>', ["a.html: b.html#gone leads nowhere"]),
        ('<a href="#gone">a</a>', ["a.html: #gone leads nowhere"]),
        ('<img src="b.svg">', ["a.html: b.svg leads nowhere"]),
        (
            '<script src="https://example.org/a.js"></script>',
            ["a.html: loads https://example.org/a.js from another host"],
        ),
        ('<link href="//example.org/a.css">', ["a.html: loads //example.org/a.css from another host"]),
    ],
)
def test_what_is_wrong_in_a_built_page_is_found(tmp_path: Path, written: str, told: list[str]) -> None:
    """A link that leads nowhere, and whatever a browser would fetch from another host."""
    (tmp_path / "a.html").write_text(written)
    (tmp_path / "b.html").write_text('<h1 id="there">b</h1>')
    (tmp_path / "a.svg").write_text("<svg/>")
    assert list(faults(tmp_path)) == told


def test_a_style_that_loads_from_another_host_is_found(tmp_path: Path) -> None:
    """A font, for example. And a site without a page is none."""
    (tmp_path / "a.css").write_text("@font-face { src: url('https://example.org/a.woff2') }")
    assert list(faults(tmp_path)) == [f"{tmp_path}: there are no pages", "a.css: loads something from another host"]
