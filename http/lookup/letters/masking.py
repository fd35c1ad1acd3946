"""Masks personal data of a dead letter's message: keeps its structure and the kinds of its values, hides what they say.

The kind, and the length of a text, show why a value was refused. A length is not shown where it may tell of a person:
in the delivery, and in fields that an order does not have. Key and headers are not shown at all.
"""

from json import JSONDecoder
from typing import Any

from msgspec import Struct
from msgspec.structs import fields

from handlers.json_document import refuse_constant
from handlers.model import Delivery, Item, Order, Payment
from handlers.not_json import looks_like
from handlers.value_formats import FRAME_BYTES, is_framed

MASK = "•••"
TEXT, BLANK_TEXT = f"{MASK} text", f"{MASK} blank text"
NUMBER, FRACTION, EXPONENT = f"{MASK} number", f"{MASK} number with a fraction", f"{MASK} number with an exponent"
_KNOWN_NAMES = frozenset(field.encode_name for kind in (Order, Delivery, Payment, Item) for field in fields(kind))
_WRAPPERS = frozenset({"schema", "payload", "before", "after", "op", "data", "specversion"})
"""Names that wrappers of an order have at the top."""
_PARTS: dict[str, type[Struct]] = {"delivery": Delivery, "payment": Payment, "items": Item}
_ORDERS = frozenset({"payload", "after", "before", "data"})
"""Where wrappers hold an order."""
_WITH_LENGTHS: dict[type[Struct], frozenset[str]] = {
    kind: frozenset(field.encode_name for field in fields(kind)) - _PARTS.keys() for kind in (Order, Payment, Item)
}
"""The fields whose lengths are shown, by the object that has them."""


class NotJson(Exception):
    """The bytes are not JSON that the engine can read."""


def masked_view(payload: bytes | None) -> dict[str, Any]:
    """Return what may be shown of a message to everybody: its `shape` if it is JSON, and else what it `looks_like`.

    A frame in front of JSON is told by `looks_like`, beside the shape of the JSON.
    """
    if not payload:
        return {}
    view = {}
    try:
        view["shape"] = shape_of(payload[FRAME_BYTES:] if is_framed(payload) else payload)
    except NotJson:
        return {"looks_like": looks_like(payload)}
    return view | {"looks_like": looks_like(payload)} if is_framed(payload) else view


def shape_of(payload: bytes | None) -> Any:
    """Return the decoded JSON with a label in place of every text and every number, such as `••• text, length 4`.

    Field names that an order does not have may hold personal data: they are masked too. Raises `NotJson`.
    """
    try:
        return _mask(_decode((payload or b"").decode()), Order)
    except (ValueError, RecursionError):
        raise NotJson from None


class _Number(str):
    """The label of a number, which was never read."""

    __slots__ = ()


def _mask(value: Any, part: type[Struct] | None, measured: bool = False) -> Any:
    """Mask a value. `part` is the part of an order that its members belong to; None: they are not known."""
    match value:
        case _Number():
            return str(value)
        case str():
            return _mask_text(value, measured)
        case list():
            return [_mask(item, part) for item in value]
        case dict():
            return _mask_object(value, part)
        case _:
            return value


def _mask_text(text: str, measured: bool) -> str:
    label = TEXT if text.strip() else BLANK_TEXT
    return f"{label}, length {len(text)}" if measured else label


def _mask_object(members: dict[str, Any], part: type[Struct] | None) -> dict[str, Any]:
    masked: dict[str, Any] = {}
    unknown = 0
    with_lengths = _WITH_LENGTHS.get(part, frozenset()) if part else frozenset()
    for name, value in members.items():
        known = name in _KNOWN_NAMES or (part is Order and name in _WRAPPERS)
        unknown += not known
        shown = name if known else MASK if unknown == 1 else f"{MASK} {unknown}"
        masked[shown] = _mask(value, _part_below(part, name), name in with_lengths)
    return masked


def _part_below(part: type[Struct] | None, name: str) -> type[Struct] | None:
    if part is not Order:
        return None
    return Order if name in _ORDERS else _PARTS.get(name)


def _mask_float(digits: str) -> str:
    return _Number(EXPONENT if "e" in digits or "E" in digits else FRACTION)


_decode = JSONDecoder(
    parse_int=lambda _digits: _Number(NUMBER), parse_float=_mask_float, parse_constant=refuse_constant
).decode
