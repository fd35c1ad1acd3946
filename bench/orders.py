"""Generates orders as JSON, five times faster than `orderflow publish`: it gives new ids to a pool of orders.

An order has about 1.3 kB and 1 to 4 items. The same seed gives the same orders. All indexed values are new in each
order: its uid, track number, customer, and the ids of its items.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from msgspec import json

from orderflow.publishing.goods import PRODUCTS
from orderflow.publishing.people import Customers

POOL_BITS = 10
FIRST_NUMBER = 10_000_000
"""Later than the creation time of every order that was stored before."""
MAX_ITEMS = 4
_UID, _TRACK, _CUSTOMER, _RID = "UUUU", "TTTT", "CCCC", "RRRR"
_CHRT_ID, _NM_ID = 1_111_111_111, 1_222_222_222
_PLACES = {
    _UID.encode(): b"%b",
    _TRACK.encode(): b"%b",
    _CUSTOMER.encode(): b"%010x",
    _RID.encode(): b"%021x",
    b"%d" % _CHRT_ID: b"%d",
    b"%d" % _NM_ID: b"%d",
}
"""The placeholder for an id in a template, and the format that replaces it."""
_CHRT_BITS, _RID_BITS, _NM_BITS, _CUSTOMER_BITS = 20, 84, 22, 40
_FIRST_DAY = datetime(2026, 11, 1, tzinfo=UTC)
_DAYS = 21


class EncodedOrder(NamedTuple):
    """The uid of an order, its JSON, and its number of items."""

    uid: bytes
    value: bytes
    items: int


def encoded_orders(seed: int, *, random_uids: bool = False) -> Iterator[EncodedOrder]:
    """Generate an endless sequence of orders.

    A uid has 19 characters: an increasing number of eight digits, as from a producer that numbers its orders, and
    eleven random hexadecimal digits. With `random_uids` all of it is random: uids are spread over the whole index.
    """
    random = Random(seed)
    customers = Customers("ru_RU", random)
    pool = [_template(random, customers) for _ in range(1 << POOL_BITS)]
    bits = random.getrandbits
    number = FIRST_NUMBER
    while True:
        template, items = pool[bits(POOL_BITS)]
        uid = b"%019x" % bits(76) if random_uids else b"%08d%011x" % (number, bits(44))
        track = b"WB%012x" % bits(48)
        ids: list[bytes | int] = [uid, track, uid]
        for _ in range(items):
            ids += (bits(_CHRT_BITS) + 1, track, bits(_RID_BITS), bits(_NM_BITS) + 1)
        ids.append(bits(_CUSTOMER_BITS))
        yield EncodedOrder(uid, template % tuple(ids), items)
        number += 1


def _template(random: Random, customers: Customers) -> tuple[bytes, int]:
    """Return an order as JSON with a placeholder for each id, and its number of items."""
    order = _order(random, customers)
    text = json.encode(order).replace(b"%", b"%%")
    for name, place in _PLACES.items():
        text = text.replace(name, place)
    return text, len(order["items"])


def _order(random: Random, customers: Customers) -> dict[str, Any]:
    market, customer = customers.market, customers.next()
    items = [_item(random) for _ in range(random.randint(1, MAX_ITEMS))]
    goods_total = sum(item["total_price"] for item in items)
    delivery_cost = random.randint(500, 2500)
    return {
        "order_uid": _UID,
        "track_number": _TRACK,
        "entry": "WBIL",
        "delivery": customer.recipient,
        "payment": {
            "transaction": _UID,
            "request_id": "",
            "currency": market.currency,
            "provider": random.choice(market.providers),
            "amount": goods_total + delivery_cost,
            "payment_dt": 1_700_000_000 + random.randrange(1_000_000),
            "bank": random.choice(market.banks),
            "delivery_cost": delivery_cost,
            "goods_total": goods_total,
            "custom_fee": 0,
        },
        "items": items,
        "locale": market.locale,
        "internal_signature": "",
        "customer_id": _CUSTOMER,
        "delivery_service": random.choice(market.carriers),
        "shardkey": str(random.randrange(10)),
        "sm_id": random.randrange(100),
        "date_created": f"{_FIRST_DAY + timedelta(seconds=random.randrange(_DAYS * 86400)):%Y-%m-%dT%H:%M:%SZ}",
        "oof_shard": "1",
    }


def _item(random: Random) -> dict[str, Any]:
    product = random.choice(PRODUCTS)
    price, sale = random.randint(*product.prices), random.randint(0, 60)
    return {
        "chrt_id": _CHRT_ID,
        "track_number": _TRACK,
        "price": price,
        "rid": _RID,
        "name": product.names["ru"],
        "sale": sale,
        "size": random.choice(product.sizes),
        "total_price": price * (100 - sale) // 100,
        "nm_id": _NM_ID,
        "brand": random.choice(product.brands),
        "status": 202,
    }
