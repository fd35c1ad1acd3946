"""Rows for COPY: what msgspec writes for plain texts is what the slower encoder writes for any."""

import csv
from datetime import datetime
from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from engine.records import time_of
from handlers.copy_format import bytes_field, escaped_fields, fields, time_field

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
values = st.lists(texts | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8)


@given(row=values)
def test_both_encoders_agree_on_texts_that_need_no_escape(row: list[str | int]) -> None:
    """The fast one is only asked when JSON has no backslash."""
    if b"\\" not in json.encode(row):
        assert fields(row) == escaped_fields(row)


@given(row=values)
def test_a_row_comes_back_as_it_was_written(row: list[str | int]) -> None:
    """Quotes, backslashes, separators and ends of lines are parts of a text."""
    [line] = csv.reader(StringIO(escaped_fields(row).decode(), newline=""))
    assert line == [str(value) for value in row]


def test_an_empty_text_is_not_null() -> None:
    """COPY takes an empty field with quotes for a text."""
    assert fields(["", 0]) == escaped_fields(["", 0]) == b'"",0'


@given(value=st.binary(max_size=20))
def test_bytes_are_in_hexadecimal(value: bytes) -> None:
    """As PostgreSQL reads and writes them."""
    assert bytes.fromhex(bytes_field(value).decode().removeprefix("\\x")) == value


@given(timestamp_ms=st.integers(-(2**63), 2**63 - 1))
def test_a_timestamp_is_a_time_in_utc(timestamp_ms: int) -> None:
    """An unknown one is the moment before 1970."""
    assert datetime.fromisoformat(time_field(timestamp_ms).decode()) == time_of(timestamp_ms)
