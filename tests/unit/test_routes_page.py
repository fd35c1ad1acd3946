"""docs/http.md tells of every route that the server has."""

import re
from pathlib import Path

from msgspec import json

ROOT = Path(__file__).parents[2]


def told() -> set[str]:
    """Return the routes of the table's first column; a `, `/replay` behind a route stands in its last part's stead."""
    routes: set[str] = set()
    for row in re.findall(r"^\| (`.*?`) \| ", (ROOT / "docs" / "http.md").read_text(encoding="utf-8"), re.MULTILINE):
        first, *others = re.findall(r"`([^`]+)`", row)
        routes |= {first, *(first.rpartition("/")[0] + other for other in others)}
    return routes


def test_every_route_is_told_of() -> None:
    """Under the method, with the variable parts in capitals."""
    paths = json.decode((ROOT / "http" / "lookup" / "openapi.json").read_bytes())["paths"]
    described = {
        f"{method.upper()} {re.sub(r'{(?:order_)?(.*?)}', lambda part: part[1].upper(), path)}"
        for path, operations in paths.items()
        for method in operations
        if method in {"get", "post"}
    }

    assert described | {"GET /", "GET /operations", "GET /dead-letters"} == told()
