"""Inserts orders into PostgreSQL without an engine, for tests of programs that read them."""

from datetime import UTC, datetime
from typing import Any

from asyncpg import Connection
from msgspec import json
from msgspec.structs import asdict, replace

from handlers.body import render_body
from handlers.decode import decode_order
from handlers.model import Order
from orderflow.publishing.orders import OrderGenerator

STORED_AT = datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)


def make_order(generator: OrderGenerator, **changes: Any) -> Order:
    """Return a valid order with some changed fields."""
    order = decode_order(json.encode(generator.order()))
    assert isinstance(order, Order)
    return replace(order, **changes)


async def store_order(connection: Connection, order: Order) -> bytes:
    """Insert the order and return the body that HTTP must answer with."""
    delivery, payment = order.delivery, order.payment
    row = {
        **{
            name: getattr(order, name)
            for name in (
                "order_uid",
                "track_number",
                "entry",
                "locale",
                "internal_signature",
                "customer_id",
                "delivery_service",
                "shardkey",
                "sm_id",
                "oof_shard",
            )
        },
        "date_created": datetime.fromisoformat(order.date_created),
        **{f"delivery_{name}": value for name, value in asdict(delivery).items()},
        **{f"payment_{name}".replace("payment_payment_", "payment_"): value for name, value in asdict(payment).items()},
        "created_at": STORED_AT,
        "updated_at": STORED_AT,
    }
    await _insert(connection, "orders", row)
    for position, item in enumerate(order.items):
        await _insert(connection, "order_items", {"order_uid": order.order_uid, "position": position, **asdict(item)})
    return render_body(order, STORED_AT, STORED_AT)


async def _insert(connection: Connection, table: str, row: dict[str, Any]) -> None:
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())
