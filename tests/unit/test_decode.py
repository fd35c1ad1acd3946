"""From bytes to an order: the contract's rules one by one, all reasons at once, and two paths with one verdict."""

import copy
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import MsgspecError

from engine.verdict import Rejected
from handlers import decode
from handlers.decode import decode_order
from handlers.model import Order
from handlers.reasons import EMPTY_MESSAGE, INVALID_JSON, INVALID_ORDER
from handlers.validation import MAX_ERRORS, validate
from tests.support.bad_messages import (
    ABSENT,
    ITEM,
    NOT_AN_OBJECT,
    NOT_JSON,
    ORDER,
    WHOLE,
    encode,
    keys_of,
    order_with,
    put,
    with_city,
    with_unknown,
)

OPTIONAL_TEXT = (
    "internal_signature",
    "delivery_service",
    "shardkey",
    "oof_shard",
    "delivery.zip",
    "delivery.region",
    "delivery.email",
    "payment.request_id",
    "payment.bank",
)
KEYS = ("order_uid", "track_number", "customer_id", "items[0].track_number", "items[0].rid")
REQUIRED_TEXT = (
    *KEYS,
    "entry",
    "locale",
    "delivery.name",
    "delivery.phone",
    "delivery.city",
    "delivery.address",
    "payment.transaction",
    "payment.currency",
    "payment.provider",
    "items[0].name",
    "items[0].size",
    "items[0].brand",
)
COUNTS = (
    "payment.amount",
    "payment.delivery_cost",
    "payment.goods_total",
    "payment.custom_fee",
    "items[0].price",
    "items[0].sale",
    "items[0].total_price",
    "items[0].status",
)
AMOUNTS = COUNTS[:4]
POSITIVES = ("payment.payment_dt", "items[0].chrt_id", "items[0].nm_id")
PARTS = ("delivery", "payment", "items", "items[0]")
TEXTS = (*REQUIRED_TEXT, *OPTIONAL_TEXT)
INTEGERS = (*COUNTS, *POSITIVES, "sm_id")
FIELDS = (*TEXTS, *INTEGERS, "date_created", "delivery", "payment", "items")
INT4_MAX, INT8_MAX = 2**31 - 1, 2**63 - 1


def look(order: Order, path: str) -> Any:
    found: Any = order
    for key in keys_of(path):
        found = found[key] if isinstance(key, int) else getattr(found, key)
    return found


def accepted(value: bytes) -> Order:
    order = decode_order(value)
    assert isinstance(order, Order), order
    return order


def refused(value: bytes | None) -> Rejected:
    verdict = decode_order(value)
    assert isinstance(verdict, Rejected), verdict
    assert verdict.errors
    assert all(error.message for error in verdict.errors)
    return verdict


def paths(verdict: Rejected) -> list[str]:
    return [error.path for error in verdict.errors]


def the_error(value: bytes, path: str) -> str:
    """Return the message of a refusal that names this path and no other."""
    verdict = refused(value)
    assert (verdict.reason, paths(verdict)) == (INVALID_ORDER, [path])
    return verdict.errors[0].message


def test_every_field_is_tested_here() -> None:
    """A field that is added to the model is added to this file too."""

    def leaves(part: Any, prefix: str) -> Iterator[str]:
        for name, value in part.items():
            if isinstance(value, dict):
                yield from leaves(value, f"{prefix}{name}.")
            elif isinstance(value, list):
                yield from leaves(value[0], f"{prefix}{name}[0].")
            else:
                yield f"{prefix}{name}"

    assert sorted(leaves(ORDER, "")) == sorted([*TEXTS, *INTEGERS, "date_created"])


def test_a_valid_order_keeps_every_field() -> None:
    """What was published is what is decoded."""
    order = accepted(order_with())
    for path in (*TEXTS, *INTEGERS):
        expected: Any = ORDER
        for key in keys_of(path):
            expected = expected[key]
        assert look(order, path) == expected, path
    assert order.date_created == datetime(2021, 11, 26, 6, 22, 19, tzinfo=UTC)


# --- What must be there ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", REQUIRED_TEXT)
@pytest.mark.parametrize("blank", ["", " ", "\t\r\n", "\u00a0", "\u2003\u3000"])
def test_required_text_is_not_blank_after_trimming(path: str, blank: str) -> None:
    """White space of any script is nothing."""
    assert the_error(order_with((path, blank)), path) == "must not be blank"


@pytest.mark.parametrize("path", REQUIRED_TEXT)
def test_text_is_kept_as_it_is(path: str) -> None:
    """Trimming only judges: what is stored is what came."""
    assert look(accepted(order_with((path, "  ж\t"))), path) == "  ж\t"


@pytest.mark.parametrize("path", OPTIONAL_TEXT)
@pytest.mark.parametrize("value", [ABSENT, "", "   "])
def test_optional_text_may_be_absent_or_blank(path: str, value: Any) -> None:
    """Absent, it is empty."""
    assert look(accepted(order_with((path, value))), path) == ("" if value is ABSENT else value)


def test_an_absent_sm_id_is_zero() -> None:
    """The only number that may be absent."""
    assert accepted(order_with(("sm_id", ABSENT))).sm_id == 0


@pytest.mark.parametrize("path", sorted({*FIELDS} - {*OPTIONAL_TEXT, "sm_id"}))
def test_all_else_is_required(path: str) -> None:
    """The message says so, and names the field."""
    assert the_error(order_with((path, ABSENT)), path) == "is required"


@pytest.mark.parametrize("path", [*FIELDS, "items[0]"])
def test_null_is_never_valid(path: str) -> None:
    """Not even for a field that may be absent."""
    the_error(order_with((path, None)), path)


def test_an_order_has_at_least_one_item() -> None:
    """An empty list is no list of goods."""
    assert the_error(order_with(("items", [])), "items") == "must hold at least one item"


@pytest.mark.parametrize("value", [{}, {"deep": [None, {"a": 1.5}]}, None, "text", -1, 1e300, [[]], True])
@pytest.mark.parametrize("holder", ["", "delivery.", "payment.", "items[0]."])
def test_unknown_fields_are_ignored(holder: str, value: Any) -> None:
    """On every level, whatever they hold."""
    assert accepted(order_with((f"{holder}surprise", value))) == accepted(order_with())


# --- Types ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TEXTS)
@pytest.mark.parametrize("value", [1, 0, 1.5, True, [], {}, ["a"]])
def test_text_is_a_string(path: str, value: Any) -> None:
    """Nothing is turned into one."""
    assert the_error(order_with((path, value)), path) == "must be a string"


@pytest.mark.parametrize("path", INTEGERS)
@pytest.mark.parametrize("value", ["1", "", 1.0, 1.5, 1e2, -0.0, True, False, [], {}, [1]])
def test_a_whole_number_is_an_integer_and_nothing_like_it(path: str, value: Any) -> None:
    """No strings, no booleans, no fractions, and 1.0 is a fraction."""
    assert the_error(order_with((path, value)), path) == "must be a whole number"


@pytest.mark.parametrize("path", ["delivery", "payment", "items[0]"])
@pytest.mark.parametrize("value", [[], "text", 1, True, [["name", "x"]]])
def test_a_part_is_an_object(path: str, value: Any) -> None:
    """An array in the fields' order will not do."""
    assert the_error(order_with((path, value)), path) == "must be an object"


@pytest.mark.parametrize("value", [{}, "text", 1, True, {"0": ITEM}])
def test_the_items_are_an_array(value: Any) -> None:
    """An object with numbered keys will not do."""
    assert the_error(order_with(("items", value)), "items") == "must be an array"


# --- Numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted({*COUNTS} - {*AMOUNTS}))
@pytest.mark.parametrize(("value", "valid"), [(-1, False), (0, True), (INT4_MAX, True), (INT4_MAX + 1, False)])
def test_a_count_is_from_zero_to_the_largest_int4(path: str, value: int, valid: bool) -> None:
    """Both ends are valid, their neighbours are not."""
    message = order_with((path, value))
    if valid:
        assert look(accepted(message), path) == value
    else:
        assert the_error(message, path) == "must be from 0 to 2147483647"


@pytest.mark.parametrize("path", POSITIVES)
@pytest.mark.parametrize(
    ("value", "valid"), [(-1, False), (0, False), (1, True), (INT8_MAX, True), (INT8_MAX + 1, False), (2**64, False)]
)
def test_an_identifier_is_from_one_to_the_largest_int8(path: str, value: int, valid: bool) -> None:
    """Both ends are valid, their neighbours are not, and 2^64 is not a fraction by accident."""
    message = order_with((path, value))
    if valid:
        assert look(accepted(message), path) == value
    else:
        assert the_error(message, path) == "must be from 1 to 9223372036854775807"


@pytest.mark.parametrize(
    ("value", "valid"), [(-INT4_MAX - 2, False), (-INT4_MAX - 1, True), (INT4_MAX, True), (INT4_MAX + 1, False)]
)
def test_sm_id_is_any_int4(value: int, valid: bool) -> None:
    """It may be negative: nothing says that it may not."""
    message = order_with(("sm_id", value))
    if valid:
        assert accepted(message).sm_id == value
    else:
        the_error(message, "sm_id")


@pytest.mark.parametrize("path", AMOUNTS)
@pytest.mark.parametrize("value", [-1, INT4_MAX + 1])
def test_an_amount_is_a_count_too(path: str, value: int) -> None:
    """Its own field is named, whatever else it breaks."""
    assert path in paths(refused(order_with((path, value))))


def test_all_amounts_may_be_zero() -> None:
    """A gift adds up."""
    assert accepted(order_with(*((path, 0) for path in AMOUNTS))).payment.amount == 0


@pytest.mark.parametrize("path", AMOUNTS)
@pytest.mark.parametrize("off_by", [-1, 1])
def test_the_amount_is_the_sum_of_its_parts(path: str, off_by: int) -> None:
    """Whichever of the four is off, it is the amount that does not add up."""
    value = look(accepted(order_with()), path) + off_by
    message = the_error(order_with((path, value)), "payment.amount")
    assert message == "must equal goods_total + delivery_cost + custom_fee"


def test_the_amount_need_not_be_the_sum_of_the_items() -> None:
    """The contract says nothing of that."""
    accepted(order_with(("items[0].total_price", 5)))


# --- Keys -----------------------------------------------------------------------------------------------------------

OTHER_ITEM = {**ITEM, "rid": "another"}


def test_rid_is_unique_within_the_order() -> None:
    """The second of two is the one to blame."""
    value = order_with(("items", [ITEM, OTHER_ITEM, ITEM]))
    assert the_error(value, "items[2].rid") == "must be unique within the order"
    assert len(accepted(order_with(("items", [ITEM, OTHER_ITEM]))).items) == 2


def test_rids_that_differ_in_case_or_white_space_differ() -> None:
    """Uniqueness is that of the database: byte by byte."""
    items = [{**ITEM, "rid": rid} for rid in ("a", "A", "a ", "á", "a\u0301")]
    assert len(accepted(order_with(("items", items))).items) == 5


@pytest.mark.parametrize("path", KEYS)
@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("x" * 512, True),
        ("x" * 513, False),
        ("ж" * 256, True),
        ("ж" * 256 + "x", False),
        ("€" * 170 + "xx", True),
        ("€" * 171, False),
        ("😀" * 128, True),
        ("😀" * 129, False),
        (" " + "x" * 512, False),
    ],
    ids=["512 x", "513 x", "512 ж", "513 ж", "512 €", "513 €", "512 😀", "516 😀", "513 with a blank"],
)
def test_a_key_is_at_most_512_bytes_not_characters(path: str, text: str, valid: bool) -> None:
    """A text of 256 letters of two bytes each is just short enough."""
    message = order_with((path, text))
    if valid:
        assert look(accepted(message), path) == text
    else:
        assert the_error(message, path) == "must be at most 512 bytes of UTF-8"


@pytest.mark.parametrize("path", sorted({*TEXTS} - {*KEYS}))
def test_other_text_may_be_a_megabyte(path: str) -> None:
    """Only what is indexed is bounded."""
    text = "я" * 500_000
    assert look(accepted(order_with((path, text))), path) == text


@pytest.mark.parametrize("path", KEYS)
def test_a_megabyte_of_key_is_refused(path: str) -> None:
    """And the message stays short."""
    assert the_error(order_with((path, "x" * 1_000_000)), path) == "must be at most 512 bytes of UTF-8"


@pytest.mark.parametrize("path", TEXTS)
@pytest.mark.parametrize("text", ["\x00", "a\x00b", "x" * 200 + "\x00"])
def test_no_text_holds_a_nul(path: str, text: str) -> None:
    """Escaped, as JSON can only hold it; PostgreSQL cannot."""
    value = order_with((path, text))
    assert b"\\u0000" in value
    assert the_error(value, path) == "must not contain NUL"


@pytest.mark.parametrize("path", TEXTS)
def test_a_backslash_before_u0000_is_no_nul(path: str) -> None:
    r"""The text `\u0000`, six characters long, is text like any other."""
    assert look(accepted(order_with((path, r"\u0000"))), path) == r"\u0000"


def test_a_nul_in_an_unknown_field_is_ignored_with_it() -> None:
    """It is not part of the order."""
    assert accepted(order_with(("surprise", "\x00"), ("sur\x00prise", 1))) == accepted(order_with())


# --- Dates ----------------------------------------------------------------------------------------------------------

DATES = {
    "2026-01-31T12:00:00Z": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "2026-01-31t12:00:00z": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "2026-01-31T12:00:00+00:00": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "2026-01-31T12:00:00-00:00": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "2026-01-31T12:00:00+03:00": datetime(2026, 1, 31, 9, tzinfo=UTC),
    "2026-01-31T12:00:00-05:30": datetime(2026, 1, 31, 17, 30, tzinfo=UTC),
    "2026-01-01T01:00:00+02:00": datetime(2025, 12, 31, 23, tzinfo=UTC),
    "2026-12-31T23:30:00-23:59": datetime(2027, 1, 1, 23, 29, tzinfo=UTC),
    "2024-02-29T00:00:00Z": datetime(2024, 2, 29, tzinfo=UTC),
    "2026-01-31T12:00:00.5Z": datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC),
    "2026-01-31T12:00:00.000001Z": datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC),
    "2026-01-31T12:00:00.123456999Z": datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC),
    "2026-12-31T23:59:59.9999999Z": datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "0001-01-01T00:00:00Z": datetime(1, 1, 1, tzinfo=UTC),
    "0001-01-01T00:00:00-12:00": datetime(1, 1, 1, 12, tzinfo=UTC),
    "9999-12-31T23:59:59.999999Z": datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
}
BAD_DATES = {
    "no zone": "2026-01-31T12:00:00",
    "no zone, but a fraction": "2026-01-31T12:00:00.5",
    "a date alone": "2026-01-31",
    "no seconds": "2026-01-31T12:00Z",
    "a blank for a T": "2026-01-31 12:00:00Z",
    "a zone without a colon": "2026-01-31T12:00:00+0300",
    "a zone of hours": "2026-01-31T12:00:00+03",
    "a zone of 24 hours": "2026-01-31T12:00:00+24:00",
    "a zone by name": "2026-01-31T12:00:00 UTC",
    "a leap second": "2016-12-31T23:59:60Z",
    "hour 24": "2026-01-31T24:00:00Z",
    "minute 60": "2026-01-31T12:60:00Z",
    "month 13": "2026-13-01T00:00:00Z",
    "February 30": "2026-02-30T00:00:00Z",
    "February 29 of a common year": "2026-02-29T00:00:00Z",
    "year 0": "0000-01-01T00:00:00Z",
    "year 10000": "10000-01-01T00:00:00Z",
    "before year 1 in UTC": "0001-01-01T00:00:00+00:01",
    "after year 9999 in UTC": "9999-12-31T23:59:59-00:01",
    "a week": "2026-W05-6T12:00:00Z",
    "no dashes": "20260131T120000Z",
    "a comma": "2026-01-31T12:00:00,5Z",
    "a point without digits": "2026-01-31T12:00:00.Z",
    "blanks around": " 2026-01-31T12:00:00Z ",
    "a line feed behind": "2026-01-31T12:00:00Z\n",
    "digits of another script": "٢٠٢٦-01-31T12:00:00Z",
    "a NUL": "2026-01-31T12:00:00Z\x00",
    "nothing": "",
    "text": "yesterday",
    "a number": 1_769_860_800,
    "a number as text": "1769860800",
    "a boolean": True,
    "an object": {},
}


@pytest.mark.parametrize("text", DATES)
def test_a_date_is_kept_in_utc_to_the_microsecond(text: str) -> None:
    """Zones are converted, finer digits are cut and not rounded."""
    moment = accepted(order_with(("date_created", text))).date_created
    assert moment == DATES[text]
    assert moment.utcoffset() == DATES[text].utcoffset()
    assert moment.replace(tzinfo=None) == DATES[text].replace(tzinfo=None)


@pytest.mark.parametrize("name", BAD_DATES)
def test_what_is_no_rfc_3339_date_with_a_zone_is_refused(name: str) -> None:
    """The message says what one looks like."""
    message = the_error(order_with(("date_created", BAD_DATES[name])), "date_created")
    assert message == "must be an RFC 3339 time with a zone, such as 2026-01-31T12:00:00Z"


@pytest.mark.parametrize("zone", ["+00:60", "+01:99", "-22:61"])
def test_a_zone_has_fewer_than_sixty_minutes(zone: str) -> None:
    """RFC 3339: `time-numoffset = ("+" / "-") time-hour ":" time-minute`, and a minute is 00 to 59."""
    the_error(order_with(("date_created", f"2026-01-31T12:00:00{zone}")), "date_created")


@given(moment=st.datetimes(timezones=st.just(UTC)), digits=st.text("0123456789", max_size=12))
def test_any_instant_comes_back_cut_to_the_microsecond(moment: datetime, digits: str) -> None:
    """Digits behind the sixth never change the ones before."""
    text = moment.replace(tzinfo=None).isoformat(timespec="microseconds") + digits + "Z"
    assert accepted(order_with(("date_created", text))).date_created == moment


# --- All reasons at once --------------------------------------------------------------------------------------------


def test_all_reasons_are_given_at_once() -> None:
    """One round trip to the sender is enough."""
    verdict = refused(
        order_with(
            ("entry", " "),
            ("locale", None),
            ("sm_id", "9"),
            ("customer_id", ABSENT),
            ("date_created", "today"),
            ("delivery.email", 5),
            ("delivery.phone", ABSENT),
            ("payment.amount", -5),
            ("payment.payment_dt", 0),
            ("items", [ITEM, {**OTHER_ITEM, "price": -1, "brand": ""}, 7, {}]),
        )
    )
    assert verdict.reason == INVALID_ORDER
    assert sorted(paths(verdict)) == sorted(
        [
            "entry",
            "locale",
            "sm_id",
            "customer_id",
            "date_created",
            "delivery.email",
            "delivery.phone",
            "payment.amount",  # below zero
            "payment.amount",  # and not the sum
            "payment.payment_dt",
            "items[1].price",
            "items[1].brand",
            "items[2]",
            *(f"items[3].{name}" for name in ITEM),
        ]
    )


def test_an_empty_object_lacks_every_required_field() -> None:
    """And only those."""
    verdict = refused(b"{}")
    top = [path for path in FIELDS if "." not in path]
    assert sorted(paths(verdict)) == sorted({*top} - {*OPTIONAL_TEXT, "sm_id"})
    assert verdict.subject is None


def test_a_wrong_sum_is_told_beside_another_error_of_the_payment() -> None:
    """All reasons: a blank currency does not hide that the amounts do not add up."""
    verdict = refused(order_with(("payment.currency", ""), ("payment.amount", 1)))
    assert sorted(paths(verdict)) == ["payment.amount", "payment.currency"]


def test_a_repeated_rid_is_told_beside_another_error_of_an_item() -> None:
    """All reasons: a blank brand does not hide that two items have one rid."""
    verdict = refused(order_with(("items", [ITEM, {**ITEM, "brand": ""}])))
    assert sorted(paths(verdict)) == ["items[1].brand", "items[1].rid"]


def test_every_repeated_rid_is_told() -> None:
    """All reasons: three of a kind are two errors."""
    verdict = refused(order_with(("items", [ITEM, ITEM, ITEM])))
    assert paths(verdict) == ["items[1].rid", "items[2].rid"]


def test_a_refusal_names_the_order_where_it_can() -> None:
    """The uid is for whoever searches; one that could not be stored is not repeated."""
    assert refused(order_with(("entry", ""))).subject == ORDER["order_uid"]
    for uid in ("", "  ", "a\x00b", "ж" * 257, 5, None, ["x"], ABSENT):
        assert refused(order_with(("order_uid", uid), ("entry", ""))).subject is None


def test_the_number_of_reasons_is_bounded() -> None:
    """A hostile message may hold a million errors."""
    verdict = refused(order_with(("items", [0] * 1000)))
    assert len(verdict.errors) == MAX_ERRORS
    assert paths(verdict)[:2] == ["items[0]", "items[1]"]


def test_a_message_full_of_errors_does_not_block_the_worker() -> None:
    """Ten thousand empty items (30 kB) cost little more than the hundred errors that are kept."""
    value = order_with(("items", [{}] * 10_000))
    begin_s = time.process_time()
    assert len(refused(value).errors) == MAX_ERRORS
    assert time.process_time() - begin_s < 0.5


# --- Bad bytes ------------------------------------------------------------------------------------------------------


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
    assert verdict.errors[0].message == "must be an object"


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


# --- Personal data --------------------------------------------------------------------------------------------------

CANARY = "canary@example.org +79990001122"


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize("form", ["text", "with a NUL", "in a list", "in an object", "as a name", "too long"])
def test_a_message_never_quotes_a_value(path: str, form: str) -> None:
    """Whatever is wrong with a field, what it held stays out of the refusal."""
    value: Any = {
        "text": CANARY,
        "with a NUL": f"{CANARY}\x00",
        "in a list": [CANARY],
        "in an object": {"name": CANARY},
        "as a name": {CANARY: 1},
        "too long": CANARY * 100,
    }[form]
    verdict = decode_order(order_with(("entry", ""), (path, value)))
    told = repr(verdict).replace(repr(ORDER["order_uid"]), "")
    if path == "order_uid":  # a uid that could be stored is what the refusal is about
        told = told.replace(repr(value), "")
    assert isinstance(verdict, Rejected) or path == "entry"
    assert isinstance(verdict, Order) or "canary" not in told
    assert isinstance(verdict, Order) or "7999" not in told


def test_a_date_that_is_refused_is_not_quoted() -> None:
    """Nor is a truncated message, nor an unknown name."""
    for value in (
        order_with(("date_created", CANARY)),
        order_with(("delivery.name", CANARY))[:-1],
        encode({**ORDER, CANARY: CANARY, "entry": ""}),
        encode([CANARY]),
        CANARY.encode(),
    ):
        assert "canary" not in repr(refused(value))


# --- Two paths, one verdict -----------------------------------------------------------------------------------------

NASTY = st.one_of(
    st.sampled_from(
        [
            None, True, False, 0, 1, -1, -0.0, 1.0, 1.5, 1e300, "", " ", "\u00a0", "\u200b", "\x1c", "0", "1",
            "\x00", "a\x00", r"\u0000", "ж" * 256, "ж" * 257, "x" * 128, "x" * 129, "x" * 512, "x" * 513, "😀" * 128,
            "😀" * 129, INT4_MAX, INT4_MAX + 1, -INT4_MAX - 1, -INT4_MAX - 2, INT8_MAX, INT8_MAX + 1, -INT8_MAX - 2,
            2**64 - 1, 2**64, 10**100, [], {}, [None], [[]], {"name": "x"}, [ITEM, ITEM], [ITEM, OTHER_ITEM], [{}],
            [OTHER_ITEM, 1], ORDER["delivery"], ORDER["payment"], ABSENT, *DATES, *BAD_DATES.values(),
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.integers(-5, 2000),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
MUTATIONS = st.lists(st.tuples(st.sampled_from([*FIELDS, "items[0]", "delivery.x", "x"]), NASTY), max_size=4)


def mutated(mutations: list[tuple[str, Any]], escaped: bool) -> bytes:
    document = copy.deepcopy(ORDER)
    for path, value in mutations:
        try:
            put(document, path, copy.deepcopy(value))
        except (TypeError, KeyError, IndexError):
            continue  # an earlier mutation took away what this one is about
    return json.dumps(document, ensure_ascii=escaped).encode()


def fast_path(value: bytes) -> Order | None:
    """What the C decoder and the remaining rules accept, without the slow path behind them."""
    try:
        order = decode._decode_order(value)
    except (MsgspecError, ValueError, RecursionError):
        return None
    return order if decode._passes(order) and b"\\u0000" not in value else None


@settings(max_examples=600, deadline=None)
@given(mutations=MUTATIONS, escaped=st.booleans())
@example(mutations=[("order_uid", "ж" * 257)], escaped=False)
@example(mutations=[("items", [ITEM, ITEM])], escaped=True)
@example(mutations=[("payment.amount", 1825), ("payment.custom_fee", 8)], escaped=False)
def test_the_fast_path_never_disagrees_with_the_slow_one(mutations: list[tuple[str, Any]], escaped: bool) -> None:
    """What the fast path accepts, the slow path accepts as an equal order, and that is the verdict."""
    value = mutated(mutations, escaped)
    slow = validate(json.loads(value))
    fast = fast_path(value)
    assert fast is None or fast == slow
    verdict = decode_order(value)
    assert verdict == slow
    if isinstance(verdict, Rejected):
        assert verdict.reason == INVALID_ORDER
        assert verdict.errors
        assert all(error.message for error in verdict.errors)


@given(order_uid=st.text(st.characters(exclude_categories=["Cs"]), max_size=140))
def test_a_valid_order_stays_on_the_fast_path(order_uid: str) -> None:
    """Only long and odd keys cost the second look."""
    value = order_with(("order_uid", order_uid))
    usual = order_uid.strip() and len(order_uid) <= 128 and "\x00" not in order_uid and r"\u0000" not in order_uid
    assert (fast_path(value) is not None) == bool(usual)


@settings(max_examples=300)
@given(value=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_ever_raise(value: bytes) -> None:
    """Bad data is a value: it is refused with a reason and at least one error."""
    verdict = refused(value)
    assert verdict.reason in {EMPTY_MESSAGE, INVALID_JSON, INVALID_ORDER}


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_order_never_raises(data: st.DataObject) -> None:
    """Whatever bytes of a valid order are replaced, there is an order or a reason."""
    begin = data.draw(st.integers(0, len(WHOLE)))
    end = data.draw(st.integers(begin, min(len(WHOLE), begin + 20)))
    verdict = decode_order(WHOLE[:begin] + data.draw(st.binary(max_size=8)) + WHOLE[end:])
    assert isinstance(verdict, Order) or (verdict.reason and verdict.errors)
