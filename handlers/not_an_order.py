"""Names JSON that is no order: what wraps one, several of them, or a plain value. Nothing of it is repeated."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import attrs

from handlers.byte_formats import BASE64_OBJECT
from handlers.json_document import kind_of
from handlers.model import SUBJECT_NAME
from handlers.value_formats import ENVELOPE_NAMES

_ITSELF = "must be the order itself, not"
_CHANGE = "a change event of Debezium (before, after)"
_CONNECT = "Kafka Connect's envelope (schema, payload)"
_NO_SCHEMAS = "value.converter.schemas.enable=false"
_MEMBERS = 100
_INSIDE = ("payload", "after", "data")
"""Where the usual wrappers hold the order."""


@attrs.frozen
class NoOrder:
    """Why a document is no order. `inside` is the object within it that seems to be the order, or None."""

    problem: str
    inside: Mapping[str, Any] | None = None


def recognise_document(document: object) -> NoOrder | None:
    """Return why a document is something else than an order. None for an object that may be meant as an order."""
    match document:
        case dict():
            return None if SUBJECT_NAME in document else _recognise_object(document)
        case list():
            return NoOrder("must be an object, not an array: each order is a message of its own")
        case str():
            return NoOrder(_text_problem(document))
        case _:
            return NoOrder(f"must be an object, not {kind_of(document)}")


def _text_problem(text: str) -> str:
    if _holds_object(text):
        return "must be an object, not JSON within a text: it is encoded twice, as by an outbox"
    if BASE64_OBJECT.match(text):
        return "must be an object, not a text in base64"
    return "must be an object, not text"


def _holds_object(value: object) -> bool:
    return isinstance(value, str) and value.lstrip()[:1] == "{"


def _recognise_object(document: dict[str, Any]) -> NoOrder | None:
    inside = _order_in(document)
    if document.keys() >= ENVELOPE_NAMES:
        return NoOrder(_envelope_problem(document), inside)
    if {"before", "after"} <= document.keys() or {"op", "source", "after"} <= document.keys():
        return NoOrder(f"{_ITSELF} {_CHANGE}: io.debezium.transforms.ExtractNewRecordState unwraps it", inside)
    if "specversion" in document and document.keys() & {"data", "data_base64", "type"}:
        return NoOrder(f"{_ITSELF} a CloudEvent around it: send events in the binary content mode", inside)
    if any(_holds_object(document.get(name)) for name in _INSIDE):
        return NoOrder(f"{_ITSELF} an object with its JSON in a text, as from an outbox: expand the JSON", inside)
    if inside is not None:
        return NoOrder(f"{_ITSELF} an object that holds it", inside)
    return None


def _envelope_problem(document: dict[str, Any]) -> str:
    payload = document["payload"]
    if isinstance(payload, dict) and {"before", "after"} <= payload.keys():
        return (
            f"{_ITSELF} {_CHANGE} in {_CONNECT}: "
            f"set {_NO_SCHEMAS}, and let io.debezium.transforms.ExtractNewRecordState unwrap it"
        )
    if _holds_object(payload):
        return f"{_ITSELF} JSON in a text in {_CONNECT}, as from an outbox: set {_NO_SCHEMAS}, and expand the JSON"
    if payload is None:
        return f"{_ITSELF} {_CONNECT} without an order in it"
    if document.keys() == ENVELOPE_NAMES and isinstance(payload, dict):
        return f"{_ITSELF} {_CONNECT}: set {_NO_SCHEMAS} there, or KAFKA_VALUE_FORMAT=envelope here"
    return f"{_ITSELF} {_CONNECT}: set {_NO_SCHEMAS}"


def _order_in(document: Mapping[str, Any], *, deeper: bool = True) -> Mapping[str, Any] | None:
    """Return the object with an order's uid that a document holds: in any member, or one level deeper."""
    members = [*(document[name] for name in _INSIDE if name in document), *islice(document.values(), _MEMBERS)]
    objects = [member for member in members if isinstance(member, dict)]
    found = next((member for member in objects if SUBJECT_NAME in member), None)
    if found or not deeper:
        return found
    return next(filter(None, (_order_in(member, deeper=False) for member in objects)), None)
