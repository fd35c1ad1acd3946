"""Decodes the bytes of a message to an order.

The fast path is a decoder in C. If it refuses a message, `handlers.validation` decides and returns all errors.
"""

from collections.abc import Sequence
from json import JSONDecoder
from typing import Any

from msgspec import MsgspecError, json

from engine.verdict import FieldError, Rejected
from handlers.fields import ITEM_ROW, ORDER_ROW, Column, compiled
from handlers.model import Order, UtcTime
from handlers.reasons import EMPTY_MESSAGE, INVALID_JSON
from handlers.times import parse_time
from handlers.validation import validate

_MAX_BYTES_PER_CHARACTER = 4
"""The most bytes of a character in UTF-8. It gives a number of characters that always fits a limit in bytes."""


def _decode_custom(kind: type, value: Any) -> UtcTime:
    assert kind is UtcTime
    return parse_time(value)


_decode_order = json.Decoder(Order, dec_hook=_decode_custom).decode
_MAX_DIGITS = 4000
_TOO_LARGE_INTEGER = 10**30


def _parse_integer(digits: str) -> int:
    # Python cannot parse integers of more than 4,300 digits. Instead, return a number that no field allows.
    return int(digits) if len(digits) <= _MAX_DIGITS else _TOO_LARGE_INTEGER


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decode_any = JSONDecoder(parse_int=_parse_integer, parse_constant=_refuse_constant).decode


def decode_order(value: bytes | None) -> Order | Rejected:
    """Return the order in these bytes, or the reasons why they are not a valid order. Never raises for bad data."""
    if not value:
        return Rejected(EMPTY_MESSAGE, (FieldError("", "must hold a JSON object"),))
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return Rejected(INVALID_JSON, (FieldError("", "must be JSON in UTF-8"),))
    try:
        order = _decode_order(value)
        if _passes(order) and (b"\\" not in value or b"\\u0000" not in value):  # the first check is much faster
            return order
    except (MsgspecError, ValueError, RecursionError):
        pass
    try:
        document = _decode_any(text)
    except RecursionError:
        return Rejected(INVALID_JSON, (FieldError("", "must not be nested deeper than 1,000 levels"),))
    except ValueError:
        return Rejected(INVALID_JSON, (FieldError("", "must be JSON in UTF-8"),))
    return validate(document)


def _rules(columns: Sequence[Column]) -> str:
    """Return a Python condition: no key may be too long, and no required text is blank."""
    short = [
        f"len({column.value}) <= {column.extra['max_bytes'] // _MAX_BYTES_PER_CHARACTER}"
        for column in columns
        if "max_bytes" in column.extra
    ]
    filled = [f"{column.value}.strip()" for column in columns if column.extra.get("required")]
    return " and ".join(short + filled)


_texts_pass = compiled("order, delivery, payment", _rules(ORDER_ROW))
_item_passes = compiled("item", _rules(ITEM_ROW))


def _passes(order: Order) -> bool:
    """Return whether the rules hold that the C decoder cannot check. Long keys (they are rare) take the slow path."""
    payment, items = order.payment, order.items
    return (
        bool(_texts_pass(order, order.delivery, payment))
        and payment.adds_up
        and all(map(_item_passes, items))
        and (len(items) == 1 or len({item.rid for item in items}) == len(items))
    )
