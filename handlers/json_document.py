"""Parses any JSON, and says of what kind a value is. Slower than `handlers.decode`, for messages that it refuses."""

from json import JSONDecoder

_MAX_DIGITS = 4000
_TOO_LARGE_INTEGER = 10**30


class NotANumber(ValueError):
    """NaN or Infinity, which Python reads and JSON does not have."""


class Exponent(float):
    """A number that the message writes with an exponent, such as 1e3."""


def _parse_integer(digits: str) -> int:
    # Python cannot parse integers of more than 4,300 digits. Instead, return a number that no field allows.
    return int(digits) if len(digits) <= _MAX_DIGITS else _TOO_LARGE_INTEGER


def _parse_float(digits: str) -> float:
    return Exponent(digits) if "e" in digits or "E" in digits else float(digits)


def refuse_constant(name: str) -> None:
    """Raise `NotANumber`."""
    raise NotANumber(f"{name} is not JSON")


parse_document = JSONDecoder(parse_int=_parse_integer, parse_float=_parse_float, parse_constant=refuse_constant).decode
"""Returns the document in a text. Raises `JSONDecodeError`, `NotANumber`, or for deep nesting `RecursionError`."""


def kind_of(value: object) -> str:
    """Return the kind of a value of JSON in words, never the value."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "an array"
        case _:
            return "an object"
