"""Generates realistic orders. All are valid; the same seed makes the same orders."""

from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from orderflow.publishing.goods import PRODUCTS
from orderflow.publishing.people import MARKETS, Customers, Market

Document = dict[str, Any]
"""An order as a JSON object, with the fields in their documented order."""

SEEDED_NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
"""When seeded orders are placed: with the current time the same seed would not make the same orders."""

_ENTRIES = ("WBIL", "WBRU", "SITE", "APP")
_STATUSES = (202, 202, 202, 200, 201, 204)
_NEXT_STATUS = 205
_MAX_ITEMS = 5
_PLACED_WITHIN_S = 3600


class OrderGenerator:
    """Generates orders without end. All orders are placed shortly before `now`, an instant in UTC."""

    def __init__(self, seed: int | None = None, now: datetime | None = None) -> None:
        self._random = Random(seed)
        self._now = now or (datetime.now(UTC) if seed is None else SEEDED_NOW)
        self._customers = [Customers(faker_locale, self._random) for faker_locale in MARKETS]

    def __iter__(self) -> Iterator[Document]:
        while True:
            yield self.order()

    def order(self) -> Document:
        """Return a new order with a unique uid."""
        random = self._random
        customers = random.choice(self._customers)
        customer, market = customers.next(), customers.market
        order_uid = f"{random.getrandbits(80):020x}"
        track_number = f"WB{random.randrange(10**12):012d}"
        placed = self._now - timedelta(seconds=random.randrange(_PLACED_WITHIN_S))
        items = [self._item(track_number, market) for _ in range(_item_count(random))]
        return {
            "order_uid": order_uid,
            "track_number": track_number,
            "entry": random.choice(_ENTRIES),
            "delivery": customer.recipient,
            "payment": self._payment(order_uid, items, market, int(placed.timestamp())),
            "items": items,
            "locale": market.locale,
            "internal_signature": "",
            "customer_id": customer.customer_id,
            "delivery_service": random.choice(market.carriers),
            "shardkey": str(random.randrange(10)),
            "sm_id": random.randrange(1, 100),
            "date_created": placed.replace(tzinfo=None).isoformat(timespec="seconds") + "Z",
            "oof_shard": str(random.randrange(1, 3)),
        }

    def _item(self, track_number: str, market: Market) -> Document:
        random = self._random
        product = random.choice(PRODUCTS)
        price = max(1, random.randint(*product.prices) // market.rubles)
        sale = random.choice((0, 0, 5, 10, 15, 20, 25, 30, 40, 50, 70))
        return {
            "chrt_id": random.randrange(1, 10_000_000),
            "track_number": track_number,
            "price": price,
            "rid": f"{random.getrandbits(84):021x}",
            "name": product.names[market.locale],
            "sale": sale,
            "size": random.choice(product.sizes),
            "total_price": price * (100 - sale) // 100,
            "nm_id": random.randrange(1, 100_000_000),
            "brand": random.choice(product.brands),
            "status": random.choice(_STATUSES),
        }

    def _payment(self, order_uid: str, items: list[Document], market: Market, placed_s: int) -> Document:
        random = self._random
        goods_total = sum(item["total_price"] for item in items)
        delivery_cost = random.choice((0, 199, 299, 499, 1500)) // market.rubles
        custom_fee = goods_total // 20 if random.random() < 0.05 else 0  # noqa: PLR2004
        return {
            "transaction": order_uid,
            "request_id": "",
            "currency": market.currency,
            "provider": random.choice(market.providers),
            "amount": goods_total + delivery_cost + custom_fee,
            "payment_dt": placed_s + random.randrange(5, 300),
            "bank": random.choice(market.banks),
            "delivery_cost": delivery_cost,
            "goods_total": goods_total,
            "custom_fee": custom_fee,
        }


def changed(order: Document) -> Document:
    """Return a newer valid version of an order, with the same uid and changed statuses of its items."""
    newer = deepcopy(order)
    for item in newer["items"]:
        item["status"] += 1 if item["status"] >= _NEXT_STATUS else _NEXT_STATUS - item["status"]
    return newer


def _item_count(random: Random) -> int:
    """Return the number of items of an order: small numbers are more likely."""
    return min(random.randint(1, _MAX_ITEMS), random.randint(1, _MAX_ITEMS))
