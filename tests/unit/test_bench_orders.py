"""The orders that the benchmark makes: valid, always the same, and counted rightly."""

from itertools import islice
from pathlib import Path

import pytest
from msgspec import json

from bench.backlog import Backlog, Mixture, messages
from bench.binary_rows import pack_orders
from bench.orders import encoded_orders
from engine.verdict import Rejected
from handlers.decode import decode_order


@pytest.mark.parametrize("random_uids", [False, True])
def test_every_order_is_valid(random_uids: bool) -> None:
    """Each is what its uid and its number of items say, and no uid comes twice."""
    orders = list(islice(encoded_orders(3, random_uids=random_uids), 2000))
    for order in orders:
        decoded = decode_order(order.value)
        assert not isinstance(decoded, Rejected), decoded
        document = json.decode(order.value)
        assert (document["order_uid"].encode(), len(document["items"])) == (order.uid, order.items)
    assert len({order.uid for order in orders}) == len(orders)


def test_the_same_seed_makes_the_same_orders() -> None:
    """And another one makes others."""
    first, again, other = (list(islice(encoded_orders(seed), 50)) for seed in (1, 1, 2))
    assert first == again
    assert not {order.value for order in first} & {order.value for order in other}


def test_a_backlog_knows_what_must_become_of_it() -> None:
    """The shares are kept, invalid messages are invalid, and a repeat is equal and in its order's partition."""
    backlog = Backlog({})
    sent = list(messages(Mixture(count=4000, seed=5, invalid_share=0.1, repeat_share=0.2), backlog))
    assert backlog.messages == len(sent) == 4000
    assert backlog.orders + backlog.rejected + backlog.repeats == 4000
    assert 300 < backlog.rejected < 500
    assert 650 < backlog.repeats < 950
    valid = {message for message in sent if not isinstance(decode_order(message.value), Rejected)}
    assert {message.key.decode() for message in valid} == set(backlog.uids)
    assert len(valid) == backlog.orders
    assert sum(len(json.decode(message.value)["items"]) for message in valid) == backlog.items


def test_packed_rows_come_in_transactions(tmp_path: Path) -> None:
    """Each holds so many orders, and every table's rows begin and end as COPY wants it."""
    orders = list(islice(encoded_orders(1), 25))
    packed = pack_orders((order.value for order in orders), tmp_path / "packed", 10)
    transactions = list(packed)
    assert (packed.orders, packed.items, len(transactions)) == (25, sum(order.items for order in orders), 3)
    for tables in transactions:
        assert set(tables) == {"orders", "deliveries", "payments", "order_items"}
        for rows in tables.values():
            assert rows.startswith(b"PGCOPY\n\xff\r\n\0")
            assert rows.endswith(b"\xff\xff")
