"""Decodes the bytes of a message to an order.

The fast path is a decoder in C. If it refuses a message, `handlers.validation` decides and returns all errors. What a
message is wrapped in is taken off before.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import MsgspecError, Raw, Struct, json

from engine.verdict import FieldError, Rejected
from handlers.fields import ITEM_ROW, ORDER_ROW, Column, compiled
from handlers.json_document import kind_of, parse_document
from handlers.model import SUBJECT_NAME, Order
from handlers.not_an_order import recognise_document
from handlers.not_json import why_not_json
from handlers.reasons import EMPTY_MESSAGE, INVALID_JSON, INVALID_ORDER
from handlers.times import quick_utc_time
from handlers.validation import readable_uid, validate
from handlers.value_formats import CONFLUENT_JSON, ENVELOPE, ENVELOPE_NAMES, FRAME_BYTES, JSON, is_framed

_decode_order = json.Decoder(Order).decode


class _Envelope(Struct, forbid_unknown_fields=True):
    schema: Raw
    payload: Raw


_decode_envelope = json.Decoder(_Envelope).decode


def decode_order(value: bytes | None, value_format: str = JSON) -> Order | Rejected:
    """Return the order in these bytes, or the reasons why they are not a valid order. Never raises for bad data.

    `value_format` is one of `handlers.value_formats`: what must be around the order.
    """
    if value is None:
        return _rejected(EMPTY_MESSAGE, "must hold a JSON object, not a tombstone: this message has no value")
    if not value:
        return _rejected(EMPTY_MESSAGE, "must hold a JSON object, not 0 bytes")
    if value_format == ENVELOPE:
        return _decode_enveloped(value)
    if value_format == CONFLUENT_JSON:
        return _decode_framed(value)
    return _decode_plain(value)


def _rejected(reason: str, problem: str, subject: str | None = None) -> Rejected:
    return Rejected(reason, (FieldError("", problem),), subject)


def _decode_plain(value: bytes, start: int = 0) -> Order | Rejected:
    """Decode JSON that begins at the byte `start` of its message."""
    if is_utf8(value) and (order := decode_quickly(value)) is not None:
        return order
    document = _parse(value, start)
    return document if isinstance(document, Rejected) else validate(document)


def _parse(value: bytes, start: int = 0) -> Any:
    """Return the document, or `Rejected`."""
    try:
        return parse_document(value.decode())
    except (ValueError, RecursionError):
        return _rejected(INVALID_JSON, why_not_json(value, start))


def _decode_framed(value: bytes) -> Order | Rejected:
    if is_framed(value):
        return _decode_plain(value[FRAME_BYTES:], FRAME_BYTES)
    wanted = "must begin with a schema registry's frame, 0x00 and a 4-byte id (KAFKA_VALUE_FORMAT=confluent-json)"
    document = _parse(value)
    if isinstance(document, Rejected):
        return _rejected(INVALID_JSON, wanted)
    return _rejected(INVALID_JSON, f"{wanted}: this is JSON without one", readable_uid(document))


def _decode_enveloped(value: bytes) -> Order | Rejected:
    try:
        payload = bytes(_decode_envelope(value).payload)
        if is_utf8(value) and (order := decode_quickly(payload)) is not None:
            return order
    except (MsgspecError, ValueError, RecursionError):  # a ValueError: an unknown name that is not UTF-8
        pass
    document = _parse(value)
    if isinstance(document, Rejected):
        return document
    if isinstance(document, dict) and document.keys() == ENVELOPE_NAMES:
        return validate(document["payload"], "payload")
    return _not_enveloped(document)


def _not_enveloped(document: object) -> Rejected:
    wanted = "must be an object of exactly schema and payload (KAFKA_VALUE_FORMAT=envelope)"
    if not isinstance(document, dict):
        return _rejected(INVALID_ORDER, f"{wanted}, not {kind_of(document)}")
    if document.keys() >= ENVELOPE_NAMES:
        wanted += ": this one has other members too"
    elif SUBJECT_NAME in document:
        wanted += ": this is an order without them"
    elif (known := recognise_document(document)) is not None and ": " in known.problem:  # with its cure
        wanted += f", not {known.problem.partition(', not ')[2]}"
    return _rejected(INVALID_ORDER, wanted, readable_uid(document))


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
