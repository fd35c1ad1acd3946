"""Parses query strings. An error says which values the wrong parameter allows."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from handlers.model import MAX_KEY_BYTES

_NAME_CHARACTERS = 64

Parameters = Mapping[str, tuple[Callable[[str | None], Any], str]]
"""For each parameter: a parser that returns None for a wrong value, and a text that says what is allowed."""
KEY_RULE = f"1 to {MAX_KEY_BYTES} bytes of UTF-8 without NUL, compared exactly"


class WrongParameter(Exception):
    """A parameter with a wrong value or an unknown name: its name, and what is allowed instead."""

    def __init__(self, parameter: str, allowed: str) -> None:
        super().__init__(parameter, allowed)
        self.parameter = parameter
        self.allowed = allowed


def parse_parameters(raw_query: str, parameters: Parameters) -> dict[str, Any]:
    """Return the values in a percent-encoded query string, by name. Raises `WrongParameter`."""
    values: dict[str, Any] = {}
    for field in filter(None, raw_query.split("&")):
        encoded_name, _, encoded = field.partition("=")
        name = _decoded(encoded_name) or ""
        if name not in parameters:
            raise WrongParameter(_shown(name), f"only these parameters: {', '.join(parameters)}")
        if name in values:
            raise WrongParameter(name, "at most once")
        values[name] = parse_parameter(name, _decoded(encoded), parameters)
    return values


def parse_parameter(name: str, text: str | None, parameters: Parameters) -> Any:
    """Return the value of one parameter. Raises `WrongParameter`."""
    parse, allowed = parameters[name]
    value = parse(text)
    if value is None:
        raise WrongParameter(name, allowed)
    return value


def parse_key(text: str | None) -> str | None:
    """Return the text if it can be a stored key, else None."""
    return text if text and len(text.encode()) <= MAX_KEY_BYTES and "\x00" not in text else None


def number_up_to(highest: int) -> Callable[[str | None], int | None]:
    """Return a parser of whole numbers from 1 to `highest`."""

    def parse(text: str | None) -> int | None:
        if text is None or not (text.isascii() and text.isdigit() and len(text) <= len(str(highest))):
            return None
        return int(text) if 1 <= int(text) <= highest else None

    return parse


def _decoded(encoded: str) -> str | None:
    """Return the decoded text, or None when it is not UTF-8. A plus sign is a space, as in forms."""
    try:
        return unquote_to_bytes(encoded.replace("+", " ").encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        return None


def _shown(name: str) -> str:
    """Return an unknown name if it is safe to show in an error, else "?"."""
    return name if len(name) <= _NAME_CHARACTERS and name.isascii() and name.isidentifier() else "?"
