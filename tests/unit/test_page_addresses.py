"""The pages work under any prefix of a proxy: every address in them is relative, and leads to a route."""

import re
from urllib.parse import urljoin, urlsplit

import pytest
from lookup.serving.static import PageFile, read_page

from tests.support.lookup_server import UI

PREFIX = "/any/prefix"
FILES = {file.route: file for file in read_page(UI)}
PAGES = {route: file for route, file in FILES.items() if file.content_type == "text/html"}
SCRIPTS = {route: file for route, file in FILES.items() if file.content_type == "text/javascript"}
IN_HTML = re.compile(r'\b(?:href|src|action)="([^#"][^"]*)"')
IMPORTED = re.compile(r'\bfrom "([^"]+)"')
FROM_THE_ROOT = re.compile(r"[\"'`]/[\w?$]")


def text_of(file: PageFile) -> str:
    return file.content.decode("utf-8")


def leads_to(address: str, route: str) -> str:
    """Return the route that an address in the file of `route` leads to, without the prefix."""
    path = urlsplit(urljoin(f"http://host{PREFIX}{route}", address)).path
    assert path.startswith(f"{PREFIX}/"), f"{address} in {route} leaves the prefix"
    return path.removeprefix(PREFIX)


@pytest.mark.parametrize("route", PAGES)
def test_a_page_links_to_nothing_outside_the_prefix(route: str) -> None:
    found = IN_HTML.findall(text_of(PAGES[route]))
    assert {leads_to(address, route) for address in found} <= set(FILES)
    assert {leads_to(address, route) for address in found} >= set(PAGES)


@pytest.mark.parametrize("route", SCRIPTS)
def test_a_script_imports_and_asks_for_nothing_outside_the_prefix(route: str) -> None:
    text = text_of(SCRIPTS[route])
    assert {leads_to(address, route) for address in IMPORTED.findall(text)} <= set(FILES)
    assert FROM_THE_ROOT.findall(text) == []


def test_an_address_from_the_root_is_found() -> None:
    """What the tests above are there to find."""
    assert FROM_THE_ROOT.findall('ask(`/order/${uid}`); goTo("/?q=1"); link("/dead-letters"); key("/"); "</a>"') == [
        "`/o",
        '"/?',
        '"/d',
    ]
    with pytest.raises(AssertionError, match="leaves the prefix"):
        leads_to("/ui/common/page.css", "/operations")


def test_no_style_refers_to_another_file() -> None:
    for file in FILES.values():
        if file.content_type == "text/css":
            assert "url(" not in text_of(file)
            assert "@import" not in text_of(file)
