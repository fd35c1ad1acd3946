"""Made-up orders are valid, spoiled ones are not, and a seed decides everything."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random

import pytest
from msgspec import json

from engine.verdict import Rejected
from handlers.decode import decode_order
from handlers.model import Order
from orderflow.publishing.messages import Message, generate_messages, message_of
from orderflow.publishing.orders import Document, OrderGenerator, changed
from orderflow.publishing.spoiling import WAYS, Way, spoil


def make(count: int, seed: int | None = 1, **options: datetime) -> list[Document]:
    return list(islice(OrderGenerator(seed, **options), count))


def decoded(value: bytes | None) -> Order:
    order = decode_order(value)
    assert isinstance(order, Order), order
    return order


def test_every_order_is_valid() -> None:
    """Past the point where customers order again, too."""
    for document in make(5_000):
        decoded(json.encode(document))


def test_the_fields_stand_in_the_contracts_order() -> None:
    """What is published reads as what is answered."""
    (document,) = make(1)
    order = decoded(json.encode(document))
    assert list(document) == list(type(order).__struct_fields__)
    assert list(document["delivery"]) == list(type(order.delivery).__struct_fields__)
    assert list(document["payment"]) == list(type(order.payment).__struct_fields__)
    assert list(document["items"][0]) == list(type(order.items[0]).__struct_fields__)


def test_money_adds_up() -> None:
    """Prices less the sale make the totals, the totals make the amount."""
    for document in make(500):
        payment = document["payment"]
        for item in document["items"]:
            assert item["total_price"] == item["price"] * (100 - item["sale"]) // 100
            assert item["track_number"] == document["track_number"]
        assert payment["goods_total"] == sum(item["total_price"] for item in document["items"])
        assert payment["amount"] == payment["goods_total"] + payment["delivery_cost"] + payment["custom_fee"]


def test_uids_and_rids_are_unique() -> None:
    """Also across seeds: two publishers do not overwrite each other's orders."""
    documents = [*make(500, 1), *make(500, 2), *make(500, None)]
    assert len({document["order_uid"] for document in documents}) == 1_500
    rids = [item["rid"] for document in documents for item in document["items"]]
    assert len(set(rids)) == len(rids)


def test_the_same_seed_makes_the_same_orders() -> None:
    """However many are asked for."""
    assert make(100, 7) == make(200, 7)[:100]
    assert make(10, 7) != make(10, 8)


def test_orders_without_a_seed_differ() -> None:
    """`orderflow publish` twice makes new orders."""
    assert make(3, None) != make(3, None)


def test_orders_are_in_two_languages_with_their_own_money() -> None:
    """Russians pay in roubles, Americans in dollars."""
    documents = make(50)
    assert {(document["locale"], document["payment"]["currency"]) for document in documents} == {
        ("ru", "RUB"),
        ("en", "USD"),
    }
    for document in documents:
        assert document["delivery"]["name"].isascii() == (document["locale"] == "en")


def test_orders_were_placed_shortly_before_now() -> None:
    """Never in the future, and paid after they were placed."""
    now = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
    for document in make(200, now=now):
        placed = datetime.fromisoformat(document["date_created"])
        assert now - timedelta(hours=1) <= placed <= now
        assert document["payment"]["payment_dt"] >= placed.timestamp()


def test_customers_come_back() -> None:
    """The same person has the same address and the same id."""
    people: dict[str, Document] = {}
    for document in make(4_000):
        assert people.setdefault(document["customer_id"], document["delivery"]) == document["delivery"]
    assert len(people) == 2_000


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_spoiling_makes_an_order_invalid(way: Way) -> None:
    """And leaves the order that it was made from alone."""
    random = Random(3)
    for document in make(100):
        before = json.encode(document)
        assert isinstance(decode_order(way(document, random)), Rejected)
        assert json.encode(document) == before


def test_spoiling_uses_every_way() -> None:
    """A few thousand spoiled orders are broken in many different places."""
    random = Random(4)
    (document,) = make(1)
    reasons: Counter[str] = Counter()
    for _ in range(2_000):
        verdict = decode_order(spoil(document, random))
        assert isinstance(verdict, Rejected)
        reasons[verdict.reason + (verdict.errors[0].path if verdict.errors else "")] += 1
    assert len(reasons) > 20


def test_a_changed_order_is_valid_and_differs() -> None:
    """However often it is changed."""
    (document,) = make(1)
    newer = changed(document)
    newest = changed(newer)
    assert decoded(json.encode(newest)).order_uid == document["order_uid"]
    assert document != newer != newest != document


def messages(count: int, **shares: float) -> list[Message]:
    return list(islice(generate_messages(1, **shares), count))


def test_messages_are_keyed_by_their_order() -> None:
    """Versions of one order share a partition."""
    for message in messages(100):
        assert message.key is not None
        assert decoded(message.value).order_uid == message.order_uid == message.key.decode()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0])
def test_the_share_of_invalid_messages_is_kept(share: float) -> None:
    """Exactly, so that tests and demos can count on it."""
    made = messages(1_000, invalid_share=share)
    assert sum(message.order_uid is None for message in made) == round(1_000 * share)
    assert all(isinstance(decode_order(message.value), Rejected) for message in made if message.order_uid is None)


def test_repeats_repeat_orders_some_of_them_equal() -> None:
    """Half of the repeats are the same bytes again, half are newer versions."""
    made = messages(1_000, repeat_share=0.2)
    assert len({message.order_uid for message in made}) == 800
    different = len({message.value for message in made})
    assert 850 < different < 950


def test_shares_go_together() -> None:
    """A repeat that is due where an invalid message is due comes next."""
    made = messages(1_000, invalid_share=0.5, repeat_share=0.25)
    assert sum(message.order_uid is None for message in made) == 500
    assert len({message.order_uid for message in made} - {None}) in {250, 251}


@pytest.mark.parametrize(
    ("value", "key", "order_uid"),
    [
        (b'{"order_uid":"a"}', b"a", None),
        (b'{"order_uid":7}', None, None),
        (b"not json", None, None),
    ],
)
def test_a_line_is_keyed_by_the_uid_that_it_says(value: bytes, key: bytes | None, order_uid: str | None) -> None:
    """Whether or not it holds a valid order; the bytes stay as they are."""
    assert message_of(value) == Message(key, value, order_uid)


def test_a_line_with_an_order_has_its_uid() -> None:
    """So that it is printed once it is acknowledged."""
    (document,) = make(1)
    assert message_of(json.encode(document)).order_uid == document["order_uid"]
