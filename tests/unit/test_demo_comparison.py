"""How the smoke test compares what is answered with what was published."""

import json
from typing import Any

import pytest

from handlers.value_formats import VALUE_FORMATS, wrap
from orderflow.demo.comparison import differences, published_order

PUBLISHED: dict[str, Any] = {
    "order_uid": "a",
    "items": [{"price": 1}, {"price": 2}],
    "date_created": "2026-11-21T09:22:19+03:00",
}


def test_an_equal_answer_has_no_differences() -> None:
    """Additional fields, and another zone for the same instant, are no difference."""
    answered = {**PUBLISHED, "date_created": "2026-11-21T06:22:19.000000Z", "created_at": "now"}
    assert differences(PUBLISHED, answered) == []


@pytest.mark.parametrize(
    ("answered", "paths"),
    [
        ({**PUBLISHED, "order_uid": "b"}, ["order_uid"]),
        ({**PUBLISHED, "items": [{"price": 1}, {"price": 3}]}, ["items[1].price"]),
        ({**PUBLISHED, "items": [{"price": 1}]}, ["items"]),
        ({**PUBLISHED, "items": [{"price": True}, {"price": 2.0}]}, ["items[0].price", "items[1].price"]),
        ({**PUBLISHED, "date_created": "2026-11-21T09:22:19Z"}, ["date_created"]),
        ({}, ["order_uid", "items", "date_created"]),
    ],
)
def test_each_difference_is_named_by_its_path(answered: dict[str, Any], paths: list[str]) -> None:
    """A wrong value, type, length or a missing field is found."""
    assert differences(PUBLISHED, answered) == paths


@pytest.mark.parametrize("value_format", VALUE_FORMATS)
def test_what_was_published_is_read_in_every_format(value_format: str) -> None:
    """The user's settings may have one."""
    value = wrap(json.dumps(PUBLISHED).encode(), value_format)
    assert value is not None
    assert published_order(value, value_format) == PUBLISHED
