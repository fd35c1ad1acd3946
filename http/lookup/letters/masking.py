"""Masks personal data of a dead letter's message: keeps its structure, hides its values.

Key and headers are not shown at all.
"""

from json import JSONDecoder
from typing import Any

from msgspec.structs import fields

from handlers.model import Delivery, Item, Order, Payment

MASK = "•••"
_KNOWN_NAMES = frozenset(field.encode_name for kind in (Order, Delivery, Payment, Item) for field in fields(kind))


class NotJson(Exception):
    """The bytes are not JSON that the engine can read."""


def shape_of(payload: bytes | None) -> Any:
    """Return the decoded JSON with `MASK` in place of every text and every number.

    Field names that an order does not have may hold personal data: they are masked too. Raises `NotJson`.
    """
    try:
        return _mask(_decode((payload or b"").decode()))
    except (ValueError, RecursionError):
        raise NotJson from None


def _mask(value: Any) -> Any:
    match value:
        case str():
            return MASK
        case list():
            return [_mask(item) for item in value]
        case dict():
            return _mask_object(value)
        case _:
            return value


def _mask_object(members: dict[str, Any]) -> dict[str, Any]:
    masked: dict[str, Any] = {}
    unknown = 0
    for name, value in members.items():
        if name in _KNOWN_NAMES:
            masked[name] = _mask(value)
        else:
            unknown += 1
            masked[MASK if unknown == 1 else f"{MASK} {unknown}"] = _mask(value)
    return masked


def _mask_number(_digits: str) -> str:
    return MASK


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decode = JSONDecoder(parse_int=_mask_number, parse_float=_mask_number, parse_constant=_refuse_constant).decode
