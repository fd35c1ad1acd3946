"""What a dead letter's payload looks like to whoever has no token."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lookup.letters.masking import MASK, NotJson, shape_of

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
    assert set(leaves({**shape, "items": 0})) >= {"order_uid", "delivery", "email", MASK}
    assert set(leaves(list(shape["delivery"].values()))) == {MASK}


def test_what_is_neither_text_nor_number_stays() -> None:
    """It says what is wrong, and nothing of anybody."""
    assert shape_of(b'{"price": null, "sale": true, "items": []}') == {"price": None, "sale": True, "items": []}


def test_a_name_that_no_order_has_is_masked() -> None:
    """It may be anything, somebody's address too; several stay several."""
    payload = b'{"somebody@example.com": 1, "order_uid": 2, "+49 1234": {"zip": 3}}'
    assert shape_of(payload) == {MASK: MASK, "order_uid": MASK, f"{MASK} 2": {"zip": MASK}}


@pytest.mark.parametrize(
    "payload", [None, b"", b"{", b"\xff", b"NaN", b'{"price": Infinity}', b"[" * 100_000, b"[" * 995 + b"]" * 995]
)
def test_what_the_engine_cannot_read_has_no_shape(payload: bytes | None) -> None:
    """However deep it is nested."""
    with pytest.raises(NotJson):
        shape_of(payload)


def test_a_number_of_any_length_is_masked() -> None:
    """Python refuses to read those of more than 4,300 digits."""
    assert shape_of(b'{"price": ' + b"9" * 5000 + b"}") == {"price": MASK}
    assert shape_of(b"-1.5e300") == MASK


NAMES = {name for part in (ORDER, ORDER["delivery"], ORDER["payment"], *ORDER["items"]) for name in part}
"""The names that an order has, at any depth."""


@example(document={"address": "somewhere"})
@given(document=documents)
def test_nothing_of_a_document_is_left_but_its_outline(document: Any) -> None:
    """Whatever it holds."""
    shape = shape_of(json.dumps(document).encode())
    assert outline(shape) == outline(document)
    for leaf in leaves(shape):
        assert leaf is None or isinstance(leaf, bool) or leaf == MASK or leaf.startswith(f"{MASK} ") or leaf in NAMES
