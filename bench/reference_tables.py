"""The tables of the reference schema, with their columns in the order in which rows are written."""

from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).with_name("reference_schema.sql")

TABLES = {
    "orders": (
        "order_uid",
        "track_number",
        "entry",
        "locale",
        "internal_signature",
        "customer_id",
        "delivery_service",
        "shardkey",
        "sm_id",
        "date_created",
        "oof_shard",
    ),
    "deliveries": ("order_uid", "name", "phone", "zip", "city", "address", "region", "email"),
    "payments": (
        "order_uid",
        "transaction",
        "request_id",
        "currency",
        "provider",
        "amount",
        "payment_dt",
        "bank",
        "delivery_cost",
        "goods_total",
        "custom_fee",
    ),
    "order_items": (
        "order_uid",
        "chrt_id",
        "track_number",
        "price",
        "rid",
        "name",
        "sale",
        "size",
        "total_price",
        "nm_id",
        "brand",
        "status",
    ),
}

Rows = dict[str, list[tuple[Any, ...]]]


def rows_of(order: dict[str, Any], date_created: Any) -> Rows:
    """Return the order's rows by table. `date_created` is the time in the type that the writer needs."""
    uid = order["order_uid"]
    parts = {
        "orders": [{**order, "date_created": date_created}],
        "deliveries": [{**order["delivery"], "order_uid": uid}],
        "payments": [{**order["payment"], "order_uid": uid}],
        "order_items": [{**item, "order_uid": uid} for item in order["items"]],
    }
    return {
        table: [tuple(part[column] for column in columns) for part in parts[table]] for table, columns in TABLES.items()
    }
