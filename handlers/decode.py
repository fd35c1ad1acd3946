"""Decodes the bytes of a message to an order.

The fast path is a decoder in C. If it refuses a message, `handlers.validation` decides and returns all errors.
"""

from collections.abc import Sequence
from json import JSONDecoder

from msgspec import MsgspecError, json

from engine.verdict import FieldError, Rejected
from handlers.fields import ITEM_ROW, ORDER_ROW, Column, compiled
from handlers.model import Order
from handlers.reasons import EMPTY_MESSAGE, INVALID_JSON
from handlers.times import quick_utc_time
from handlers.validation import validate

_decode_order = json.Decoder(Order).decode
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
    if not is_utf8(value):
        return Rejected(INVALID_JSON, (FieldError("", "must be JSON in UTF-8"),))
    order = decode_quickly(value)
    if order is not None:
        return order
    try:
        document = _decode_any(value.decode())
    except RecursionError:
        return Rejected(INVALID_JSON, (FieldError("", "must not be nested deeper than 1,000 levels"),))
    except ValueError:
        return Rejected(INVALID_JSON, (FieldError("", "must be JSON in UTF-8"),))
    return validate(document)


def is_utf8(value: bytes) -> bool:
    """Return whether these bytes are valid UTF-8."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def decode_quickly(value: bytes) -> Order | None:
    """Return the order, or None if only the slow path can decide.

    The bytes must be UTF-8. The decoder in C does not look at the texts of unknown fields.
    """
    try:
        order = _decode_order(value)
        if _passes(order) and (b"\\" not in value or b"\\u0000" not in value):  # the first check is much faster
            order.date_created = quick_utc_time(order.date_created)
            return order
    except (MsgspecError, ValueError, RecursionError):
        pass
    return None


def _blank(columns: Sequence[Column]) -> str:
    """Return a Python condition: a required text is blank."""
    return " or ".join(f"{column.value}.isspace()" for column in columns if column.extra.get("required"))


_has_blank = compiled("order, delivery, payment", _blank(ORDER_ROW))
_items_have_blank = compiled("items", f"True in [{_blank(ITEM_ROW)} for item in items]")


def _passes(order: Order) -> bool:
    """Return whether the rules hold that the C decoder cannot check."""
    payment, items = order.payment, order.items
    return (
        payment.adds_up
        and len({item.rid for item in items}) == len(items)
        and not _has_blank(order, order.delivery, payment)
        and not _items_have_blank(items)
    )
