"""Reads the query of a request, parameter by parameter, and says of a wrong one what is allowed."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from handlers.model import MAX_KEY_BYTES

_NAME_CHARACTERS = 64

Parameters = Mapping[str, tuple[Callable[[str | None], Any], str]]
"""What each parameter may be: how it is read, None meaning that it cannot be; and how that is said."""
KEY_RULE = f"1 to {MAX_KEY_BYTES} bytes of UTF-8 without NUL, compared exactly"


class WrongParameter(Exception):
    """A parameter that is not allowed: its name, and what is allowed instead."""

    def __init__(self, parameter: str, allowed: str) -> None:
        super().__init__(parameter, allowed)
        self.parameter = parameter
        self.allowed = allowed


def parse_parameters(raw_query: str, parameters: Parameters) -> dict[str, Any]:
    """Return what a query string that is still percent-encoded says. Raises `WrongParameter`."""
    found: dict[str, Any] = {}
    for field in filter(None, raw_query.split("&")):
        encoded_name, _, encoded = field.partition("=")
        name = _decoded(encoded_name) or ""
        if name not in parameters:
            raise WrongParameter(_shown(name), f"only these parameters: {', '.join(parameters)}")
        if name in found:
            raise WrongParameter(name, "once at most")
        found[name] = parse_parameter(name, _decoded(encoded), parameters)
    return found


def parse_parameter(name: str, text: str | None, parameters: Parameters) -> Any:
    """Return what one parameter says. Raises `WrongParameter`."""
    parse, allowed = parameters[name]
    value = parse(text)
    if value is None:
        raise WrongParameter(name, allowed)
    return value


def parse_key(text: str | None) -> str | None:
    """Return a text that can be the key of something stored."""
    return text if text and len(text.encode()) <= MAX_KEY_BYTES and "\x00" not in text else None


def number_up_to(highest: int) -> Callable[[str | None], int | None]:
    """Return what reads a whole number from 1 to `highest`."""

    def parse(text: str | None) -> int | None:
        if text is None or not (text.isascii() and text.isdigit() and len(text) <= len(str(highest))):
            return None
        return int(text) if 1 <= int(text) <= highest else None

    return parse


def _decoded(encoded: str) -> str | None:
    """Return the text, or None when it is no UTF-8. A plus sign is a blank, as in forms."""
    try:
        return unquote_to_bytes(encoded.replace("+", " ").encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        return None


def _shown(name: str) -> str:
    """Return what may be said of a name that somebody made up."""
    return name if len(name) <= _NAME_CHARACTERS and name.isascii() and name.isidentifier() else "?"
