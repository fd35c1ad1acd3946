"""The fields of an order by kind, and helpers for the result of decoding a message."""

from datetime import UTC, datetime
from typing import Any

from engine.verdict import Rejected
from handlers.decode import decode_order
from handlers.model import Order
from handlers.reasons import INVALID_ORDER
from handlers.value_formats import JSON
from tests.support.bad_messages import ITEM, keys_of

OPTIONAL_TEXT = (
    "internal_signature",
    "delivery_service",
    "shardkey",
    "oof_shard",
    "delivery.zip",
    "delivery.region",
    "delivery.email",
    "payment.request_id",
    "payment.bank",
)
KEYS = ("order_uid", "track_number", "customer_id", "items[0].track_number", "items[0].rid")
REQUIRED_TEXT = (
    *KEYS,
    "entry",
    "locale",
    "delivery.name",
    "delivery.phone",
    "delivery.city",
    "delivery.address",
    "payment.transaction",
    "payment.currency",
    "payment.provider",
    "items[0].name",
    "items[0].size",
    "items[0].brand",
)
COUNTS = (
    "payment.amount",
    "payment.delivery_cost",
    "payment.goods_total",
    "payment.custom_fee",
    "items[0].price",
    "items[0].sale",
    "items[0].total_price",
    "items[0].status",
)
AMOUNTS = COUNTS[:4]
POSITIVES = ("payment.payment_dt", "items[0].chrt_id", "items[0].nm_id")
PARTS = ("delivery", "payment", "items", "items[0]")
TEXTS = (*REQUIRED_TEXT, *OPTIONAL_TEXT)
INTEGERS = (*COUNTS, *POSITIVES, "sm_id")
FIELDS = (*TEXTS, *INTEGERS, "date_created", "delivery", "payment", "items")
INT4_MAX, INT8_MAX = 2**31 - 1, 2**63 - 1


OTHER_ITEM = {**ITEM, "rid": "another"}
DATES = {
    "2026-01-31T12:00:00Z": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "2026-01-31t12:00:00z": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "2026-01-31T12:00:00+00:00": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "2026-01-31T12:00:00-00:00": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "2026-01-31T12:00:00+03:00": datetime(2026, 1, 31, 9, tzinfo=UTC),
    "2026-01-31T12:00:00-05:30": datetime(2026, 1, 31, 17, 30, tzinfo=UTC),
    "2026-01-01T01:00:00+02:00": datetime(2025, 12, 31, 23, tzinfo=UTC),
    "2026-12-31T23:30:00-23:59": datetime(2027, 1, 1, 23, 29, tzinfo=UTC),
    "2024-02-29T00:00:00Z": datetime(2024, 2, 29, tzinfo=UTC),
    "2026-01-31T12:00:00.5Z": datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC),
    "2026-01-31T12:00:00.000001Z": datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC),
    "2026-01-31T12:00:00.123456999Z": datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC),
    "2026-12-31T23:59:59.9999999Z": datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "0001-01-01T00:00:00Z": datetime(1, 1, 1, tzinfo=UTC),
    "0001-01-01T00:00:00-12:00": datetime(1, 1, 1, 12, tzinfo=UTC),
    "9999-12-31T23:59:59.999999Z": datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
}
BAD_DATES = {
    "no zone": "2026-01-31T12:00:00",
    "no zone, but a fraction": "2026-01-31T12:00:00.5",
    "a date alone": "2026-01-31",
    "no seconds": "2026-01-31T12:00Z",
    "a blank for a T": "2026-01-31 12:00:00Z",
    "a zone without a colon": "2026-01-31T12:00:00+0300",
    "a zone of hours": "2026-01-31T12:00:00+03",
    "a zone of 24 hours": "2026-01-31T12:00:00+24:00",
    "a zone by name": "2026-01-31T12:00:00 UTC",
    "a leap second": "2016-12-31T23:59:60Z",
    "hour 24": "2026-01-31T24:00:00Z",
    "minute 60": "2026-01-31T12:60:00Z",
    "month 13": "2026-13-01T00:00:00Z",
    "February 30": "2026-02-30T00:00:00Z",
    "February 29 of a common year": "2026-02-29T00:00:00Z",
    "year 0": "0000-01-01T00:00:00Z",
    "year 10000": "10000-01-01T00:00:00Z",
    "before year 1 in UTC": "0001-01-01T00:00:00+00:01",
    "after year 9999 in UTC": "9999-12-31T23:59:59-00:01",
    "a week": "2026-W05-6T12:00:00Z",
    "no dashes": "20260131T120000Z",
    "a comma": "2026-01-31T12:00:00,5Z",
    "a point without digits": "2026-01-31T12:00:00.Z",
    "blanks around": " 2026-01-31T12:00:00Z ",
    "a line feed behind": "2026-01-31T12:00:00Z\n",
    "digits of another script": "٢٠٢٦-01-31T12:00:00Z",
    "a NUL": "2026-01-31T12:00:00Z\x00",
    "nothing": "",
    "text": "yesterday",
    "a number": 1_769_860_800,
    "a number as text": "1769860800",
    "a boolean": True,
    "an object": {},
}


def look(order: Order, path: str) -> Any:
    found: Any = order
    for key in keys_of(path):
        found = found[key] if isinstance(key, int) else getattr(found, key)
    return found


def accepted(value: bytes) -> Order:
    order = decode_order(value)
    assert isinstance(order, Order), order
    return order


def refused(value: bytes | None, value_format: str = JSON) -> Rejected:
    verdict = decode_order(value, value_format)
    assert isinstance(verdict, Rejected), verdict
    assert verdict.errors
    assert all(error.message for error in verdict.errors)
    return verdict


def paths(verdict: Rejected) -> list[str]:
    return [error.path for error in verdict.errors]


def the_error(value: bytes, path: str) -> str:
    """Return the error text for this path. Fails if the rejection names another path."""
    verdict = refused(value)
    assert (verdict.reason, paths(verdict)) == (INVALID_ORDER, [path])
    return verdict.errors[0].message
