"""What a message's value is wrapped in: taken off where it is only a wrapping, and put on by the publisher."""

import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings

from engine.verdict import Rejected
from handlers.decode import decode_order
from handlers.model import Order
from handlers.prepared import prepare, read_order, reader_of
from handlers.reasons import EMPTY_MESSAGE, INVALID_JSON, INVALID_ORDER
from handlers.value_formats import CONFLUENT_JSON, ENVELOPE, JSON, VALUE_FORMATS, corrected, wrap
from tests.support.bad_messages import ORDER, WHOLE, order_with
from tests.support.decoding import refused
from tests.unit.test_decode_agreement import MUTATIONS, mutated

FRAME = b"\x00\x00\x01\x86\xa1"
NO_FRAME = "must begin with a schema registry's frame, 0x00 and a 4-byte id (KAFKA_VALUE_FORMAT=confluent-json)"
NO_ENVELOPE = "must be an object of exactly schema and payload (KAFKA_VALUE_FORMAT=envelope)"


def below_payload(verdict: Order | Rejected) -> Order | Rejected:
    """Return the verdict of an order as it is for the same order in an envelope."""
    if isinstance(verdict, Order):
        return verdict
    errors = tuple(
        attrs.evolve(error, path=f"payload.{error.path}" if error.path else "payload") for error in verdict.errors
    )
    return attrs.evolve(verdict, errors=errors)


@settings(max_examples=200, deadline=None)
@given(mutations=MUTATIONS)
def test_a_wrapped_message_has_the_verdict_of_what_is_in_it(mutations: list[tuple[str, Any]]) -> None:
    """With paths as they are in the message; and the reader of each format comes to the same."""
    value = mutated(mutations, escaped=False)
    plain = decode_order(value)
    for value_format, expected in ((JSON, plain), (CONFLUENT_JSON, plain), (ENVELOPE, below_payload(plain))):
        wrapped = wrap(value, value_format)
        verdict = decode_order(wrapped, value_format)
        assert verdict == expected
        assert reader_of(value_format)(wrapped) == (verdict if isinstance(verdict, Rejected) else prepare(verdict))


def test_plain_json_is_read_without_a_detour() -> None:
    """By default nothing is looked for in front of an order."""
    assert reader_of(JSON) is read_order


@pytest.mark.parametrize("value_format", VALUE_FORMATS)
@pytest.mark.parametrize("value", [None, b""])
def test_nothing_is_nothing_in_every_format(value_format: str, value: bytes | None) -> None:
    """Neither wrapped nor unwrapped."""
    assert wrap(value, value_format) == value
    assert refused(value, value_format).reason == EMPTY_MESSAGE


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (WHOLE, f"{NO_FRAME}: this is JSON without one"),
        (b"hello", NO_FRAME),
        (FRAME, NO_FRAME),
        (b"\x01" + FRAME + WHOLE, NO_FRAME),
    ],
)
def test_a_frame_that_is_asked_for_must_be_there(value: bytes, message: str) -> None:
    """Else a topic of two formats would be read by guessing."""
    verdict = refused(value, CONFLUENT_JSON)
    assert (verdict.reason, verdict.errors[0].message) == (INVALID_JSON, message)
    assert verdict.subject == (ORDER["order_uid"] if value == WHOLE else None)


def test_a_byte_behind_a_frame_is_counted_from_the_beginning_of_the_message() -> None:
    """It is the message that whoever looks for the byte has."""
    cut = FRAME + WHOLE[:-1]
    assert refused(cut, CONFLUENT_JSON).errors[0].message.endswith(f"cut off at byte {len(cut)}")
    assert refused(FRAME + b'{"a" 1}', CONFLUENT_JSON).errors[0].message.endswith("missing at byte 10")
    assert refused(FRAME + b'{"a": NaN}', CONFLUENT_JSON).errors[0].message.endswith("byte 11")
    assert refused(FRAME + b'{"a": "\xff"}', CONFLUENT_JSON).errors[0].message.endswith("byte 12 is not UTF-8")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (ORDER, f"{NO_ENVELOPE}: this is an order without them"),
        ({"schema": None, "payload": ORDER, "x": 1}, f"{NO_ENVELOPE}: this one has other members too"),
        ({"payload": ORDER}, NO_ENVELOPE),
        ([{"schema": None, "payload": ORDER}], f"{NO_ENVELOPE}, not an array"),
        (None, f"{NO_ENVELOPE}, not null"),
    ],
)
def test_an_envelope_that_is_asked_for_must_be_one(document: Any, message: str) -> None:
    """Exactly two members: with others it may mean something else."""
    verdict = refused(json.dumps(document).encode(), ENVELOPE)
    assert (verdict.reason, verdict.errors[0].path, verdict.errors[0].message) == (INVALID_ORDER, "", message)


@pytest.mark.parametrize("payload", [{"before": None, "after": ORDER, "op": "c"}, json.dumps(ORDER), [ORDER], None])
def test_what_an_envelope_holds_is_not_unwrapped_further(payload: Any) -> None:
    """A change event may be a delete: it means more than the order in it."""
    verdict = refused(json.dumps({"schema": None, "payload": payload}).encode(), ENVELOPE)
    assert (verdict.reason, [error.path for error in verdict.errors]) == (INVALID_ORDER, ["payload"])


def test_an_envelope_is_read_with_any_white_space_and_order_and_schema() -> None:
    """As JSON has it; of a repeated name the last counts."""
    for value in (
        b' { "payload" : %b , "schema" : [1, {"a": 2}] } ' % WHOLE,
        b'{"payload": 5, "schema": null, "payload": %b}' % WHOLE,
        b'{"schema": null, "p\\u0061yload": %b}' % WHOLE,
    ):
        assert decode_order(value, ENVELOPE) == decode_order(WHOLE)
    assert refused(b'{"schema": "\xff", "payload": %b}' % WHOLE, ENVELOPE).reason == INVALID_JSON


def test_a_frame_is_put_before_what_a_person_has_written() -> None:
    """The letter's own, or else one without a schema: nobody can type it."""
    text = order_with(("entry", "new"))
    assert corrected(text, FRAME + WHOLE, CONFLUENT_JSON) == FRAME + text
    assert corrected(text, WHOLE, CONFLUENT_JSON) == bytes(5) + text
    assert corrected(text, None, CONFLUENT_JSON) == bytes(5) + text
    assert corrected(FRAME + text, None, CONFLUENT_JSON) == FRAME + text
    for value_format in (JSON, ENVELOPE):
        assert corrected(text, FRAME + WHOLE, value_format) == text


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b'{"before": null, "after": {"order_uid": "a"}}', ", not a change event of Debezium"),
        (b'{"specversion": "1.0", "type": "t", "data": {"order_uid": "a"}}', ", not a CloudEvent around it"),
        (b'{"payload": "{}"}', ", not an object with its JSON in a text, as from an outbox"),
    ],
)
def test_what_is_no_envelope_is_named_where_one_is_wanted(value: bytes, told: str) -> None:
    """It is never unwrapped: its deletes mean something."""
    assert refused(value, ENVELOPE).errors[0].message.startswith(NO_ENVELOPE + told)
