"""Two ways from bytes to an order, the fast one and the one that names every error, come to one verdict."""

import copy
import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.verdict import Rejected
from handlers.decode import decode_order, decode_quickly
from handlers.json_document import parse_document
from handlers.model import Order
from handlers.prepared import prepare, read_order
from handlers.reasons import EMPTY_MESSAGE, INVALID_JSON, INVALID_ORDER
from handlers.validation import validate
from tests.support.bad_messages import (
    ABSENT,
    ITEM,
    ORDER,
    WHOLE,
    order_with,
    put,
)
from tests.support.decoding import (
    BAD_DATES,
    DATES,
    FIELDS,
    INT4_MAX,
    INT8_MAX,
    OTHER_ITEM,
    refused,
)

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


@settings(max_examples=600, deadline=None)
@given(mutations=MUTATIONS, escaped=st.booleans())
@example(mutations=[("order_uid", "ж" * 257)], escaped=False)
@example(mutations=[("items", [ITEM, ITEM])], escaped=True)
@example(mutations=[("payment.amount", 1825), ("payment.custom_fee", 8)], escaped=False)
def test_the_fast_path_never_disagrees_with_the_slow_one(mutations: list[tuple[str, Any]], escaped: bool) -> None:
    """What the fast path accepts, the slow path accepts as an equal order, and that is the verdict."""
    value = mutated(mutations, escaped)
    slow = validate(parse_document(value.decode()))
    fast = decode_quickly(value)
    assert fast is None or fast == slow
    verdict = decode_order(value)
    assert verdict == slow
    assert read_order(value) == (verdict if isinstance(verdict, Rejected) else prepare(verdict))
    if isinstance(verdict, Rejected):
        assert verdict.reason == INVALID_ORDER
        assert verdict.errors
        assert all(error.message for error in verdict.errors)


@given(order_uid=st.text(st.characters(exclude_categories=["Cs"]), max_size=140))
def test_a_valid_order_stays_on_the_fast_path(order_uid: str) -> None:
    """Only long and odd keys cost the second look."""
    value = order_with(("order_uid", order_uid))
    usual = order_uid.strip() and len(order_uid) <= 128 and "\x00" not in order_uid and r"\u0000" not in order_uid
    assert (decode_quickly(value) is not None) == bool(usual)


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
    value = WHOLE[:begin] + data.draw(st.binary(max_size=8)) + WHOLE[end:]
    verdict = decode_order(value)
    assert read_order(value) == (verdict if isinstance(verdict, Rejected) else prepare(verdict))
    assert isinstance(verdict, Order) or (verdict.reason and verdict.errors)


@given(
    uid=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    unknown=st.binary(max_size=8),
    indent=st.none() | st.integers(0, 1),
)
def test_a_message_that_is_not_as_http_returns_it_is_prepared_alike(
    uid: str, unknown: bytes, indent: int | None
) -> None:
    """With white space, escapes, and unknown fields, whose bytes must be UTF-8 as well."""
    document = json.dumps({**ORDER, "order_uid": uid, "x": "_"}, ensure_ascii=False, indent=indent).encode()
    value = document[: -len(b'_"}')] + unknown + document[-len(b'"}') :]
    verdict = decode_order(value)
    assert read_order(value) == (verdict if isinstance(verdict, Rejected) else prepare(verdict))
