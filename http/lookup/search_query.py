"""Reads a search out of the query of a request."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from handlers.model import MAX_KEY_BYTES
from handlers.summaries import Search
from lookup.cursor import parse_cursor

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
_NAME_CHARACTERS = 64


class WrongParameter(Exception):
    """A parameter that is not allowed: its name, and what is allowed instead."""

    def __init__(self, parameter: str, allowed: str) -> None:
        super().__init__(parameter, allowed)
        self.parameter = parameter
        self.allowed = allowed


def parse_search(raw_query: str) -> Search:
    """Return the search in a query string that is still percent-encoded. Raises `WrongParameter`."""
    found: dict[str, Any] = {}
    for field in filter(None, raw_query.split("&")):
        encoded_name, _, encoded = field.partition("=")
        name = _decoded(encoded_name) or ""
        if name not in _PARAMETERS:
            raise WrongParameter(_shown(name), f"only these parameters: {', '.join(_PARAMETERS)}")
        parse, allowed = _PARAMETERS[name]
        if name in found:
            raise WrongParameter(name, "once at most")
        found[name] = parse(_decoded(encoded))
        if found[name] is None:
            raise WrongParameter(name, allowed)
    return Search(**{"limit": DEFAULT_LIMIT, **found})


def _decoded(encoded: str) -> str | None:
    """Return the text, or None when it is no UTF-8. A plus sign is a blank, as in forms."""
    try:
        return unquote_to_bytes(encoded.replace("+", " ").encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        return None


def _key(text: str | None) -> str | None:
    return text if text and len(text.encode()) <= MAX_KEY_BYTES and "\x00" not in text else None


def _limit(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_LIMIT))):
        return None
    return int(text) if 1 <= int(text) <= MAX_LIMIT else None


def _shown(name: str) -> str:
    """Return what may be said of a name that somebody made up."""
    return name if len(name) <= _NAME_CHARACTERS and name.isascii() and name.isidentifier() else "?"


_KEY_RULE = f"1 to {MAX_KEY_BYTES} bytes of UTF-8 without NUL, compared exactly"
_PARAMETERS: dict[str, tuple[Callable[[str | None], Any], str]] = {
    "track_number": (_key, _KEY_RULE),
    "customer_id": (_key, _KEY_RULE),
    "limit": (_limit, f"a whole number from 1 to {MAX_LIMIT}"),
    "before": (lambda text: None if text is None else parse_cursor(text), "the `next` of an earlier answer"),
}
"""What each parameter may be: how it is read, None meaning that it cannot be; and how that is said."""
