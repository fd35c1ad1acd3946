"""Validation that names every error at once: slow, and the last word on whether a message is a valid order.

The rules are read from the annotations of `handlers.model`; what an annotation cannot say (a sum, uniqueness) stands
here.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

import attrs
from cattrs import ClassValidationError, Converter
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_structure_fn_from_attrs
from msgspec import Meta
from msgspec.structs import fields

from engine.verdict import FieldError, Rejected
from handlers.model import Delivery, Item, Key, Order, Payment, UtcTime
from handlers.reasons import INVALID_ORDER
from handlers.times import parse_time

_SURROGATE = re.compile("[\ud800-\udfff]")
MAX_ERRORS = 100
"""How many errors of one message are kept: a hostile message may hold a million."""


class Problem(ValueError):
    """A rule is broken. The message never quotes the value."""


class Problems(ValueError):
    """Rules are broken at several paths, each relative to where this is raised."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__(f"{len(errors)} rules are broken")
        self.errors = errors


def validate(document: object) -> Order | Rejected:
    """Turn decoded JSON into an order, or into all the reasons why it is none."""
    try:
        return _converter.structure(document, Order)
    except (BaseValidationError, Problem, Problems) as error:
        errors = _flatten(error, "")[:MAX_ERRORS]
        return Rejected(INVALID_ORDER, tuple(errors), readable_uid(document))


def readable_uid(document: object) -> str | None:
    """Return the uid that a message claims, if it is one that could be stored."""
    uid = document.get("order_uid") if isinstance(document, dict) else None
    try:
        return _check_text(uid, get_args(Key)[1])
    except Problem:
        return None


def _flatten(error: BaseException, path: str) -> list[FieldError]:
    if isinstance(error, ClassValidationError):
        noted, plain = error.group_exceptions()
        groups = [_flatten(inner, _join(path, note.name)) for inner, note in noted]
        groups += [_flatten(inner, path) for inner in plain]
        return [one for group in groups for one in group]
    if isinstance(error, Problems):
        return [FieldError(_join(path, one.path), one.message) for one in error.errors]
    if isinstance(error, Problem):
        return [FieldError(path, str(error))]
    return [FieldError(path, "is required" if isinstance(error, KeyError) else "is not valid")]


def _join(path: str, relative: str) -> str:
    return f"{path}{relative}" if relative.startswith("[") else f"{path}.{relative}".strip(".")


def _object_hook(
    cls: type[Any], rule: Callable[[dict[str, Any]], list[FieldError]] | None = None
) -> Callable[[Any, Any], Any]:
    """Structure an object, and apply a rule about several of its fields, whether or not others of them are at fault."""
    structure = make_dict_structure_fn_from_attrs(_fields(cls), cls, _converter)

    def hook(value: Any, kind: Any) -> Any:
        if not isinstance(value, dict):
            raise Problem("must be an object")
        broken = rule(value) if rule is not None else []
        try:
            result = structure(value, kind)
        except ClassValidationError as error:
            raise Problems(_flatten(error, "") + broken) from None
        if broken:
            raise Problems(broken)
        return result

    return hook


def _fields(cls: type[Any]) -> list[Any]:
    """Describe a struct's fields as cattrs knows fields: as those of a class of attrs that has the same ones."""
    same = {
        field.encode_name: attrs.field(type=field.type, default=attrs.NOTHING if field.required else field.default)
        for field in fields(cls)
    }
    return list(attrs.fields(attrs.make_class(cls.__name__, same, kw_only=True)))


def _amount_adds_up(payment: dict[str, Any]) -> list[FieldError]:
    amount, *parts = (payment.get(name) for name in ("amount", "goods_total", "delivery_cost", "custom_fee"))
    whole = [part for part in parts if type(part) is int]
    if type(amount) is not int or len(whole) != len(parts) or amount == sum(whole):
        return []
    return [FieldError("amount", "must equal goods_total + delivery_cost + custom_fee")]


def _is_constrained(kind: Any) -> bool:
    return get_origin(kind) is Annotated and isinstance(get_args(kind)[1], Meta)


def _constrained_hook(kind: Any) -> Callable[[Any, Any], Any]:
    base, meta = get_args(kind)[:2]
    if base is str:
        return lambda value, _kind: _check_text(value, meta)
    if base is int:
        return lambda value, _kind: _check_integer(value, meta)
    return lambda value, _kind: _check_items(value)


def _check_text(value: Any, meta: Meta) -> str:
    extra = meta.extra or {}
    if not isinstance(value, str):
        raise Problem("must be a string")
    if "\x00" in value:
        raise Problem("must not contain NUL")
    if _SURROGATE.search(value):
        raise Problem("must be valid Unicode")
    if extra.get("required") and not value.strip():
        raise Problem("must not be blank")
    limit = extra.get("max_bytes")
    if limit is not None and len(value.encode()) > limit:
        raise Problem(f"must be at most {limit} bytes of UTF-8")
    return value


def _check_integer(value: Any, meta: Meta) -> int:
    if type(value) is not int:  # a bool is an int to Python, and not to us
        raise Problem("must be a whole number")
    low = meta.ge if meta.ge is not None else (meta.gt or 0) + 1
    if not low <= value <= (meta.le or 0):
        raise Problem(f"must be from {low} to {meta.le}")
    return value


def _check_items(value: Any) -> list[Item]:
    if not isinstance(value, list):
        raise Problem("must be an array")
    if not value:
        raise Problem("must hold at least one item")
    items: list[Item] = []
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, document in enumerate(value):
        try:
            items.append(_converter.structure(document, Item))
        except (Problem, Problems) as error:
            errors += _flatten(error, f"[{index}]")
        rid = document.get("rid") if isinstance(document, dict) else None
        if isinstance(rid, str):
            if rid in seen:
                errors.append(FieldError(f"[{index}].rid", "must be unique within the order"))
            seen.add(rid)
        if len(errors) >= MAX_ERRORS:  # a message may hold a million items, and each error takes its time
            break
    if errors:
        raise Problems(errors)
    return items


def _check_time(value: Any, _kind: Any) -> UtcTime:
    try:
        return parse_time(value)
    except ValueError as error:
        raise Problem(str(error)) from None


_converter = Converter(detailed_validation=True)
_converter.register_structure_hook_factory(_is_constrained, _constrained_hook)
_converter.register_structure_hook(UtcTime, _check_time)
_converter.register_structure_hook(Delivery, _object_hook(Delivery))
_converter.register_structure_hook(Payment, _object_hook(Payment, _amount_adds_up))
_converter.register_structure_hook(Item, _object_hook(Item))
_converter.register_structure_hook(Order, _object_hook(Order))
