"""What a dead letter's payload looks like to whoever has no token."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lookup.letters.masking import BLANK_TEXT, EXPONENT, FRACTION, MASK, NUMBER, TEXT, NotJson, masked_view, shape_of

from tests.support.bad_messages import ORDER

texts = st.text(st.characters(codec="utf-8"), max_size=10)
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=20,
)


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for name, member in value.items() for leaf in [name, *leaves(member)]]
    if isinstance(value, list):
        return [leaf for member in value for leaf in leaves(member)]
    return [value]


def outline(value: Any) -> Any:
    """Return what masking keeps of any document: how many members there are, and where."""
    if isinstance(value, dict):
        return [outline(member) for member in value.values()], "object"
    return [outline(member) for member in value] if isinstance(value, list) else None


def test_an_order_keeps_its_names_and_loses_its_values() -> None:
    """In the order in which they came."""
    shape = shape_of(json.dumps(ORDER).encode())
    assert list(shape) == list(ORDER)
    assert list(shape["items"][0]) == list(ORDER["items"][0])
    assert set(leaves({**shape, "items": 0})) >= {"order_uid", "delivery", "email", TEXT, NUMBER}
    assert set(leaves(list(shape["delivery"].values()))) == {TEXT}


def test_what_is_neither_text_nor_number_stays() -> None:
    """It says what is wrong, and nothing of anybody."""
    assert shape_of(b'{"price": null, "sale": true, "items": []}') == {"price": None, "sale": True, "items": []}


@pytest.mark.parametrize(
    ("number", "label"),
    [("453", NUMBER), ("-1", NUMBER), ("1817.0", FRACTION), ("1e3", EXPONENT), ("-1.5E-7", EXPONENT)],
)
def test_a_number_keeps_its_kind(number: str, label: str) -> None:
    """The reason is seen without a digit."""
    assert shape_of(f'{{"items": [{{"price": {number}}}]}}'.encode()) == {"items": [{"price": label}]}


def test_a_text_keeps_its_length_where_it_tells_nothing_of_anybody() -> None:
    """Not below `delivery`, not in a field that an order does not have, nor in one that stands at the wrong place."""
    payload = {
        "order_uid": "жук",
        "locale": " \t",
        "payment": {"bank": "alpha", "name": "Anna", "x": "Anna"},
        "items": [{"name": "Mascaras", "phone": "1"}],
        "delivery": {"name": "Anna", "zip": "", "city": {"name": "Anna"}},
        "name": "Anna",
        "entry": ["WBIL"],
        "x": "Anna",
    }
    assert shape_of(json.dumps(payload).encode()) == {
        "order_uid": f"{TEXT}, length 3",
        "locale": f"{BLANK_TEXT}, length 2",
        "payment": {"bank": f"{TEXT}, length 5", "name": TEXT, MASK: TEXT},
        "items": [{"name": f"{TEXT}, length 8", "phone": TEXT}],
        "delivery": {"name": TEXT, "zip": BLANK_TEXT, "city": {"name": TEXT}},
        "name": TEXT,
        "entry": [TEXT],
        MASK: TEXT,
    }


@pytest.mark.parametrize(
    "wrap", [lambda it: {"schema": None, "payload": it}, lambda it: {"before": None, "after": it, "op": "c"}]
)
def test_an_order_in_a_wrapper_is_shown_as_an_order(wrap: Any) -> None:
    """The names of the usual wrappers are kept at the top, so that errors stand at their paths."""
    shape = shape_of(json.dumps(wrap(ORDER)).encode())
    assert shape_of(json.dumps(ORDER).encode()) in shape.values()
    assert list(shape) == list(wrap(ORDER))
    assert list(shape_of(b'{"delivery": {"payload": 1}}')["delivery"]) == [MASK]


def test_a_name_that_no_order_has_is_masked() -> None:
    """It may be anything, somebody's address too; several stay several."""
    payload = b'{"somebody@example.com": 1, "order_uid": 2, "+49 1234": {"zip": 3}}'
    assert shape_of(payload) == {MASK: NUMBER, "order_uid": NUMBER, f"{MASK} 2": {"zip": NUMBER}}


@pytest.mark.parametrize(
    "payload", [None, b"", b"{", b"\xff", b"NaN", b'{"price": Infinity}', b"[" * 100_000, b"[" * 995 + b"]" * 995]
)
def test_what_the_engine_cannot_read_has_no_shape(payload: bytes | None) -> None:
    """However deep it is nested."""
    with pytest.raises(NotJson):
        shape_of(payload)


def test_a_number_of_any_length_is_masked() -> None:
    """Python refuses to read those of more than 4,300 digits."""
    assert shape_of(b'{"price": ' + b"9" * 5000 + b"}") == {"price": NUMBER}
    assert shape_of(b"-1.5e300") == EXPONENT


def test_what_is_no_json_is_described() -> None:
    """And JSON behind a frame is shown beside it; of nothing, nothing is shown."""
    assert masked_view(None) == masked_view(b"") == {}
    assert masked_view(b'{"price": 1}') == {"shape": {"price": NUMBER}}
    assert masked_view(b'{"price": 1') == {"looks_like": "JSON with an error"}
    assert masked_view(b"\x1f\x8b\x08") == {"looks_like": "gzip; begins with 1f 8b"}
    assert masked_view(b'\x00\x00\x00\x00\x07{"price": 1}') == {
        "shape": {"price": NUMBER},
        "looks_like": "JSON in a schema registry's frame (0x00, schema id 7)",
    }


LABEL = re.compile(
    f"{MASK}( [0-9]+)?|{MASK} (blank )?text(, length [0-9]+)?|{NUMBER}( with a fraction| with an exponent)?", re.ASCII
)
NAMES = {name for part in (ORDER, ORDER["delivery"], ORDER["payment"], *ORDER["items"]) for name in part}
"""The names that an order has, at any depth."""
NAMES |= {"schema", "payload", "before", "after", "op", "data", "specversion"}


@example(document={"address": "somewhere"})
@given(document=documents)
def test_nothing_of_a_document_is_left_but_its_outline(document: Any) -> None:
    """Whatever it holds."""
    shape = shape_of(json.dumps(document).encode())
    assert outline(shape) == outline(document)
    for leaf in leaves(shape):
        assert leaf is None or isinstance(leaf, bool) or LABEL.fullmatch(leaf) or leaf in NAMES
