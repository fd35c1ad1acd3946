"""Why a message is no order: all reasons at once, and never a word of what it held."""

import time
from typing import Any

import pytest

from engine.verdict import Rejected
from handlers.decode import decode_order
from handlers.model import Order
from handlers.reasons import INVALID_ORDER
from handlers.validation import MAX_ERRORS
from tests.support.bad_messages import (
    ABSENT,
    ITEM,
    ORDER,
    encode,
    order_with,
)
from tests.support.decoding import (
    FIELDS,
    OPTIONAL_TEXT,
    OTHER_ITEM,
    paths,
    refused,
)


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
