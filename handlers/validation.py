"""Validates a message and returns every error at once. It is slow, and decides whether a message is a valid order.

The rules come from the annotations of `handlers.model`. Rules that an annotation cannot express (a sum, uniqueness) are
in this file.
"""

import re
from functools import cache
from typing import Any, get_args, get_origin

from msgspec import Meta, Struct
from msgspec.structs import fields

from engine.verdict import FieldError, Rejected
from handlers.fields import unwrapped
from handlers.json_document import Exponent, kind_of
from handlers.model import Key, Order, Payment, UtcTime
from handlers.not_an_order import recognise_document
from handlers.reasons import INVALID_ORDER
from handlers.times import utc_time

_SURROGATE = re.compile("[\ud800-\udfff]")
_WHOLE_NUMBER = "must be a whole number"
MAX_ERRORS = 100
"""How many errors of one message are stored. A malicious message may have a million errors."""


def validate(document: object, path: str = "") -> Order | Rejected:
    """Return the order in decoded JSON, or all reasons why it is not a valid order.

    `path` is where the document is in its message. A document that is recognised as something else has one error.
    """
    if other := recognise_document(document):
        return Rejected(INVALID_ORDER, (FieldError(path, other.problem),), readable_uid(other.inside))
    errors: list[FieldError] = []
    order = _read(document, Order, Meta(), path, errors)
    if errors:
        return Rejected(INVALID_ORDER, tuple(errors[:MAX_ERRORS]), readable_uid(document))
    assert isinstance(order, Order)
    return order


def readable_uid(document: object) -> str | None:
    """Return the uid of an invalid message, or None if it is missing or not a valid uid."""
    uid = document.get("order_uid") if isinstance(document, dict) else None
    try:
        return _check_text(uid, unwrapped(Key)[1])
    except ValueError:
        return None


@cache
def _fields_of(struct: type[Struct]) -> list[tuple[str, bool, Any, Meta]]:
    """Return the name of each field, whether it is required, its type and its rules."""
    return [(field.name, field.required, *unwrapped(field.type)) for field in fields(struct)]


def _read(value: Any, kind: Any, meta: Meta, path: str, errors: list[FieldError]) -> Any:
    """Return `value` converted to this type. Adds its errors, with this path or a path below it, to `errors`.

    The result is valid only if no error was added. An error describes the rule and never contains the value.
    """
    try:
        if kind is str:
            return _check_text(value, meta)
        if kind is int:
            return _check_integer(value, meta)
        if kind is UtcTime:
            return utc_time(value)
        if get_origin(kind) is list:
            return _read_items(value, get_args(kind)[0], path, errors)
        return _read_object(value, kind, path, errors)
    except ValueError as error:
        errors.append(FieldError(path, str(error)))
        return None


def _read_object(value: Any, struct: type[Struct], path: str, errors: list[FieldError]) -> Struct | None:
    if not isinstance(value, dict):
        raise ValueError(f"must be an object, not {kind_of(value)}")
    found = {}
    for name, required, kind, meta in _fields_of(struct):
        below = f"{path}.{name}" if path else name
        if name in value and value[name] is None and not required:
            errors.append(FieldError(below, "may be left out, not null"))
        elif name in value:
            found[name] = _read(value[name], kind, meta, below, errors)
        elif required:
            errors.append(FieldError(below, "is required"))
    if struct is Payment and not _adds_up(value):
        errors.append(FieldError(f"{path}.amount", "must equal goods_total + delivery_cost + custom_fee"))
    return None if errors else struct(**found)


def _read_items(value: Any, struct: type[Struct], path: str, errors: list[FieldError]) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"must be an array, not {kind_of(value)}")
    if not value:
        raise ValueError("must hold at least one item")
    items = []
    seen: set[str] = set()
    for index, document in enumerate(value):
        items.append(_read(document, struct, Meta(), f"{path}[{index}]", errors))
        rid = document.get("rid") if isinstance(document, dict) else None
        if isinstance(rid, str):
            if rid in seen:
                errors.append(FieldError(f"{path}[{index}].rid", "must be unique within the order"))
            seen.add(rid)
        if len(errors) >= MAX_ERRORS:  # a message may have a million items, and each error costs time
            break
    return items


def _check_text(value: Any, meta: Meta) -> str:
    extra = meta.extra or {}
    if not isinstance(value, str):
        raise ValueError(f"must be a string, not {kind_of(value)}")
    if "\x00" in value:
        raise ValueError("must not contain NUL")
    if _SURROGATE.search(value):
        raise ValueError("must be valid Unicode")
    if extra.get("required") and not value.strip():
        raise ValueError("must not be blank")
    limit = extra.get("max_bytes")
    if limit is not None and len(value.encode()) > limit:
        raise ValueError(f"must be at most {limit} bytes of UTF-8")
    return value


def _check_integer(value: Any, meta: Meta) -> int:
    if type(value) is not int:  # in Python a bool is also an int, but here it is not allowed
        raise ValueError(_WHOLE_NUMBER + _written(value))
    low = meta.ge if meta.ge is not None else (meta.gt or 0) + 1
    if not low <= value <= (meta.le or 0):
        raise ValueError(f"must be from {low} to {meta.le}")
    return value


def _written(value: Any) -> str:
    """Return how a value that is no whole number is written."""
    if isinstance(value, float):
        return f" written without {'an exponent' if isinstance(value, Exponent) else 'a fraction'}"
    return f", not {kind_of(value)}"


def _adds_up(payment: dict[str, Any]) -> bool:
    """Return whether the amount is the sum of its parts. True if one is not a whole number: that is another error."""
    amount, *parts = (payment.get(name) for name in ("amount", "goods_total", "delivery_cost", "custom_fee"))
    whole = [part for part in parts if type(part) is int]
    return type(amount) is not int or len(whole) != len(parts) or amount == sum(whole)
