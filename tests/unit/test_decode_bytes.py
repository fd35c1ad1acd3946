"""From bytes to an order: bytes that are no JSON, and JSON that is no order."""

import copy
import json

import pytest

from handlers.reasons import EMPTY_MESSAGE, INVALID_JSON, INVALID_ORDER
from tests.support.bad_messages import (
    NOT_AN_OBJECT,
    NOT_JSON,
    ORDER,
    WHOLE,
    encode,
    order_with,
    put,
    with_city,
    with_unknown,
)
from tests.support.decoding import (
    INTEGERS,
    TEXTS,
    accepted,
    paths,
    refused,
    the_error,
)


@pytest.mark.parametrize("value", [None, b""], ids=["no value", "an empty value"])
def test_nothing_is_an_empty_message(value: bytes | None) -> None:
    """A tombstone is no order either."""
    verdict = refused(value)
    assert (verdict.reason, paths(verdict), verdict.subject) == (EMPTY_MESSAGE, [""], None)


@pytest.mark.parametrize("name", NOT_JSON)
def test_bytes_that_are_no_json_are_refused_as_such(name: str) -> None:
    """One reason, no path, and never an exception."""
    verdict = refused(NOT_JSON[name])
    assert (verdict.reason, paths(verdict), verdict.subject) == (INVALID_JSON, [""], None)


@pytest.mark.parametrize("name", NOT_AN_OBJECT)
def test_json_that_is_no_object_is_no_order(name: str) -> None:
    """One message is one order."""
    verdict = refused(NOT_AN_OBJECT[name])
    assert (verdict.reason, paths(verdict)) == (INVALID_ORDER, [""])
    assert verdict.errors[0].message.startswith("must be an object, not ")


def test_every_way_to_cut_an_order_short_is_refused() -> None:
    """No beginning of a message is a message."""
    for length in range(1, len(WHOLE)):
        assert refused(WHOLE[:length]).reason == INVALID_JSON


@pytest.mark.parametrize("path", TEXTS)
@pytest.mark.parametrize("text", ["\ud800", "a\udc00b", "\udc00\ud800", "\ud83dx\ude00"])
def test_no_text_holds_half_a_surrogate_pair(path: str, text: str) -> None:
    """JSON's escapes can spell it, and no UTF-8 can hold it."""
    document = copy.deepcopy(ORDER)
    put(document, path, text)
    verdict = refused(json.dumps(document).encode())
    assert (verdict.reason, paths(verdict)) == (INVALID_ORDER, [path])
    assert verdict.errors[0].message == "must be valid Unicode"
    assert verdict.subject == (None if path == "order_uid" else ORDER["order_uid"])


def test_half_a_surrogate_pair_in_an_unknown_field_is_ignored_with_it() -> None:
    """It is not part of the order."""
    assert accepted(with_unknown(b'"\\ud800"')) == accepted(WHOLE)


def test_white_space_around_an_order_is_fine() -> None:
    """As JSON has it."""
    assert accepted(b" \r\n\t" + WHOLE + b"\n") == accepted(WHOLE)


def test_escapes_mean_what_they_stand_for() -> None:
    """In texts and in the names of fields."""
    assert accepted(with_city(b'"\\u0416\\ud83d\\ude00"')).delivery.city == "Ж😀"
    assert accepted(WHOLE.replace(b'"order_uid"', b'"\\u006frder_uid"')) == accepted(WHOLE)


def test_of_a_repeated_name_the_last_value_counts() -> None:
    """Whether or not the ones before would be valid."""
    assert accepted(WHOLE[:-1] + b', "entry": "last"}').entry == "last"
    assert accepted(b'{"entry": 5, ' + WHOLE[1:]).entry == "WBIL"
    the_error(WHOLE[:-1] + b', "entry": 5}', "entry")
    assert accepted(WHOLE[:-1] + b', "delivery": 5, "delivery": ' + encode(ORDER["delivery"]) + b"}") == accepted(WHOLE)


@pytest.mark.parametrize("path", INTEGERS)
@pytest.mark.parametrize("digits", [20, 100, 1000, 4000])
def test_a_huge_integer_is_refused_by_its_range(path: str, digits: int) -> None:
    """It is not rounded to a float, nor to anything."""
    verdict = refused(order_with((path, int("9" * digits))))
    assert verdict.reason == INVALID_ORDER
    assert path in paths(verdict)


@pytest.mark.parametrize("number", [b"9" * 5000, b"1e400"], ids=["5,000 digits", "1e400"])
def test_a_number_beyond_all_bounds_is_named_by_its_field(number: bytes) -> None:
    """It is JSON, and the field is known."""
    the_error(WHOLE.replace(b'"sm_id": 99', b'"sm_id": ' + number), "sm_id")


UNREADABLE = {"1e400": b"1e400", "5,000 digits": b"9" * 5000}
LONG = b"x" * 200


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_number_in_an_unknown_field_is_ignored_with_it(name: str) -> None:
    """It is JSON, and unknown fields are ignored."""
    assert accepted(with_unknown(UNREADABLE[name])) == accepted(WHOLE)


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_number_in_an_unknown_field_is_ignored_on_the_slow_path_too(name: str) -> None:
    """A long key, which only the slow path measures, makes no difference."""
    assert accepted(with_unknown(UNREADABLE[name]).replace(b'"test"', b'"' + LONG + b'"')).customer_id == LONG.decode()


@pytest.mark.parametrize("raw", [b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"'])
def test_bytes_that_are_no_utf_8_are_no_json_wherever_they_stand(raw: bytes) -> None:
    """The verdict must not depend on which path looked."""
    assert refused(with_unknown(raw)).reason == INVALID_JSON
