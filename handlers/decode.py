"""From a message's bytes to an order: the fast path in C, and validation with all reasons when that declines."""

from json import JSONDecoder
from typing import Any

from msgspec import MsgspecError, json

from engine.verdict import FieldError, Rejected
from handlers.model import MAX_KEY_BYTES, Order, UtcTime
from handlers.reasons import EMPTY_MESSAGE, INVALID_JSON
from handlers.times import parse_time
from handlers.validation import validate

_SURELY_SHORT = MAX_KEY_BYTES // 4
"""Text of up to this many characters is within `MAX_KEY_BYTES`, however many bytes each character takes."""


def _decode_custom(kind: type, value: Any) -> UtcTime:
    assert kind is UtcTime
    return parse_time(value)


_decode_order = json.Decoder(Order, dec_hook=_decode_custom).decode
_LONGEST_NUMBER = 4000
_BEYOND_ALL_BOUNDS = 10**30


def _parse_integer(digits: str) -> int:
    # Python refuses to read integers of more than 4,300 digits; any stand-in that no field allows will do.
    return int(digits) if len(digits) <= _LONGEST_NUMBER else _BEYOND_ALL_BOUNDS


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decode_any = JSONDecoder(parse_int=_parse_integer, parse_constant=_refuse_constant).decode


def decode_order(value: bytes | None) -> Order | Rejected:
    """Return the order that the bytes hold, or why they hold none. Never raises for what a message contains."""
    if not value:
        return Rejected(EMPTY_MESSAGE, (FieldError("", "must hold a JSON object"),))
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return Rejected(INVALID_JSON, (FieldError("", "must be JSON in UTF-8"),))
    try:
        order = _decode_order(value)
        if _passes(order) and (b"\\" not in value or b"\\u0000" not in value):  # the first is far cheaper
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


def _passes(order: Order) -> bool:
    """Whether the rules hold that the annotations cannot tell the C decoder."""
    delivery, payment, items = order.delivery, order.payment, order.items
    if not (
        _short(order.order_uid)
        and _short(order.track_number)
        and order.entry.strip()
        and order.locale.strip()
        and _short(order.customer_id)
        and delivery.name.strip()
        and delivery.phone.strip()
        and delivery.city.strip()
        and delivery.address.strip()
        and payment.transaction.strip()
        and payment.currency.strip()
        and payment.provider.strip()
        and payment.adds_up
    ):
        return False
    for item in items:
        if not (
            _short(item.track_number)
            and _short(item.rid)
            and item.name.strip()
            and item.size.strip()
            and item.brand.strip()
        ):
            return False
    return len(items) == 1 or len({item.rid for item in items}) == len(items)


def _short(text: str) -> bool:
    """Whether a key is surely not blank and not too long; a rare long one is left to the slow path."""
    return len(text) <= _SURELY_SHORT and bool(text.strip())
