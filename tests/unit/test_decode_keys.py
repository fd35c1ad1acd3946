"""From bytes to an order: what may be a key, and what no text may hold."""

import pytest

from tests.support.bad_messages import (
    ITEM,
    order_with,
)
from tests.support.decoding import (
    KEYS,
    OTHER_ITEM,
    TEXTS,
    accepted,
    look,
    the_error,
)


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
