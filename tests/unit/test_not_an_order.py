"""JSON that is no order is named: what wraps one, several of them, or a plain value."""

import base64
import json
from typing import Any

import pytest

from handlers.reasons import INVALID_ORDER
from tests.support.bad_messages import ORDER
from tests.support.decoding import accepted, paths, refused

UID = ORDER["order_uid"]
TEXT = json.dumps(ORDER)
SCHEMA = {"type": "struct", "fields": [], "optional": False}
CONNECT = "Kafka Connect's envelope (schema, payload)"
CHANGE = "a change event of Debezium (before, after)"
CONVERTER = "value.converter.schemas.enable=false"
UNWRAP = "io.debezium.transforms.ExtractNewRecordState"
DEBEZIUM = {"before": None, "after": ORDER, "source": {"db": "shop"}, "op": "c", "ts_ms": 1}
CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created"}
OUTBOX = {"id": "1", "aggregatetype": "order", "aggregateid": "1", "type": "created"}
ITSELF = "must be the order itself, not"
NAMED: dict[str, tuple[Any, str, str | None]] = {
    "Connect's envelope": (
        {"schema": SCHEMA, "payload": ORDER},
        f"{ITSELF} {CONNECT}: set {CONVERTER} there, or KAFKA_VALUE_FORMAT=envelope here",
        UID,
    ),
    "an envelope without a schema": (
        {"schema": None, "payload": ORDER},
        f"{ITSELF} {CONNECT}: set {CONVERTER} there, or KAFKA_VALUE_FORMAT=envelope here",
        UID,
    ),
    "an envelope with more": (
        {"schema": SCHEMA, "payload": ORDER, "x": 1},
        f"{ITSELF} {CONNECT}: set {CONVERTER}",
        UID,
    ),
    "an empty envelope": ({"schema": None, "payload": None}, f"{ITSELF} {CONNECT} without an order in it", None),
    "Debezium": (DEBEZIUM, f"{ITSELF} {CHANGE}: {UNWRAP} unwraps it", UID),
    "a delete of Debezium": (
        {**DEBEZIUM, "before": ORDER, "after": None, "op": "d"},
        f"{ITSELF} {CHANGE}: {UNWRAP} unwraps it",
        UID,
    ),
    "Debezium in an envelope": (
        {"schema": SCHEMA, "payload": DEBEZIUM},
        f"{ITSELF} {CHANGE} in {CONNECT}: set {CONVERTER}, and let {UNWRAP} unwrap it",
        UID,
    ),
    "a CloudEvent": (
        {**CLOUD_EVENT, "data": ORDER},
        f"{ITSELF} a CloudEvent around it: send events in the binary content mode",
        UID,
    ),
    "a CloudEvent with a text": (
        {**CLOUD_EVENT, "data": TEXT},
        f"{ITSELF} a CloudEvent around it: send events in the binary content mode",
        None,
    ),
    "a row of an outbox": (
        {**OUTBOX, "payload": TEXT},
        f"{ITSELF} an object with its JSON in a text, as from an outbox: expand the JSON",
        None,
    ),
    "an outbox in an envelope": (
        {"schema": {"type": "string"}, "payload": TEXT},
        f"{ITSELF} JSON in a text in {CONNECT}, as from an outbox: set {CONVERTER}, and expand the JSON",
        None,
    ),
    "an outbox": (TEXT, "must be an object, not JSON within a text: it is encoded twice, as by an outbox", None),
    "bytes in base64": (base64.b64encode(TEXT.encode()).decode(), "must be an object, not a text in base64", None),
    "an object around it": ({"order": ORDER}, f"{ITSELF} an object that holds it", UID),
    "objects around it": ({"event": {"order": ORDER}}, f"{ITSELF} an object that holds it", UID),
    "an array of orders": ([ORDER, ORDER], "must be an object, not an array: each order is a message of its own", None),
    "text": ("order", "must be an object, not text", None),
    "a number": (5, "must be an object, not a number", None),
    "false": (False, "must be an object, not true or false", None),
    "null": (None, "must be an object, not null", None),
}


@pytest.mark.parametrize("name", NAMED)
def test_json_that_is_no_order_is_named(name: str) -> None:
    """By one error, instead of one for each field that it lacks; and by the order's uid, if that can be read."""
    document, message, uid = NAMED[name]
    verdict = refused(json.dumps(document).encode())
    assert (verdict.reason, paths(verdict), verdict.errors[0].message) == (INVALID_ORDER, [""], message)
    assert verdict.subject == uid


@pytest.mark.parametrize(
    "more", [{"schema": 1, "payload": {}}, DEBEZIUM, {**CLOUD_EVENT, "data": TEXT}, {"order": ORDER}]
)
def test_an_order_with_members_of_a_wrapper_is_an_order(more: dict[str, Any]) -> None:
    """Unknown fields are ignored, whatever they are called."""
    assert accepted(json.dumps({**ORDER, **more}).encode()) == accepted(TEXT.encode())
    assert paths(refused(json.dumps({**ORDER, **more, "entry": ""}).encode())) == ["entry"]


@pytest.mark.parametrize(
    "document", [{}, {"payload": {}}, {"schema": 1}, {"before": None}, {"specversion": "1.0"}, {"a": "{"}]
)
def test_what_only_reminds_of_a_wrapper_lacks_its_fields(document: dict[str, Any]) -> None:
    """Better every missing field than a guess."""
    assert "order_uid" in paths(refused(json.dumps(document).encode()))
