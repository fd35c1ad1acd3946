"""From bytes to an order: the rules of texts, parts and numbers, one by one."""

from collections.abc import Iterator
from typing import Any

import pytest

from handlers.json_document import kind_of
from tests.support.bad_messages import (
    ABSENT,
    ITEM,
    ORDER,
    keys_of,
    order_with,
)
from tests.support.decoding import (
    AMOUNTS,
    COUNTS,
    FIELDS,
    INT4_MAX,
    INT8_MAX,
    INTEGERS,
    OPTIONAL_TEXT,
    POSITIVES,
    REQUIRED_TEXT,
    TEXTS,
    accepted,
    look,
    paths,
    refused,
    the_error,
)


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
    assert order.date_created == "2021-11-26T06:22:19Z"


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
    """Not even for a field that may be absent, and whoever wrote it learns which of the two it is."""
    message = the_error(order_with((path, None)), path)
    if path in {*OPTIONAL_TEXT, "sm_id"}:
        assert message == "may be left out, not null"
    else:
        assert message.startswith("must be ")
        assert message.endswith(", not null")


def test_an_order_has_at_least_one_item() -> None:
    """An empty list is no list of goods."""
    assert the_error(order_with(("items", [])), "items") == "must hold at least one item"


@pytest.mark.parametrize("value", [{}, {"deep": [None, {"a": 1.5}]}, None, "text", -1, 1e300, [[]], True])
@pytest.mark.parametrize("holder", ["", "delivery.", "payment.", "items[0]."])
def test_unknown_fields_are_ignored(holder: str, value: Any) -> None:
    """On every level, whatever they hold."""
    assert accepted(order_with((f"{holder}surprise", value))) == accepted(order_with())


@pytest.mark.parametrize("path", TEXTS)
@pytest.mark.parametrize("value", [1, 0, 1.5, True, [], {}, ["a"]])
def test_text_is_a_string(path: str, value: Any) -> None:
    """Nothing is turned into one, and the kind of what was found is told."""
    assert the_error(order_with((path, value)), path) == f"must be a string, not {kind_of(value)}"


@pytest.mark.parametrize("path", INTEGERS)
@pytest.mark.parametrize(
    ("value", "found"),
    [
        *(("1", ", not text"), ("", ", not text"), ([], ", not an array"), ({}, ", not an object")),
        *((True, ", not true or false"), (False, ", not true or false")),
        *((1.0, " written without a fraction"), (1.5, " written without a fraction")),
        *((-0.0, " written without a fraction"), (1e300, " written without an exponent")),
    ],
)
def test_a_whole_number_is_an_integer_and_nothing_like_it(path: str, value: Any, found: str) -> None:
    """No strings, no booleans, no fractions, and 1.0 is a fraction."""
    assert the_error(order_with((path, value)), path) == f"must be a whole number{found}"


@pytest.mark.parametrize("number", ["1e3", "1E3", "1.5e1", "12e-1"])
def test_a_number_with_an_exponent_is_told_as_such(number: str) -> None:
    """Even where it stands for a whole number: other readers of JSON would round it."""
    message = order_with(("items[0].price", "NUMBER")).replace(b'"NUMBER"', number.encode())
    assert the_error(message, "items[0].price") == "must be a whole number written without an exponent"


@pytest.mark.parametrize("path", ["delivery", "payment", "items[0]"])
@pytest.mark.parametrize("value", [[], "text", 1, True, [["name", "x"]]])
def test_a_part_is_an_object(path: str, value: Any) -> None:
    """An array in the fields' order will not do."""
    assert the_error(order_with((path, value)), path) == f"must be an object, not {kind_of(value)}"


@pytest.mark.parametrize("value", [{}, "text", 1, True, {"0": ITEM}])
def test_the_items_are_an_array(value: Any) -> None:
    """An object with numbered keys will not do."""
    assert the_error(order_with(("items", value)), "items") == f"must be an array, not {kind_of(value)}"


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
