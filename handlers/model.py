"""The order, as it arrives and as it is answered.

To add a field: here, in a migration, in `http/lookup/openapi.json`, in the generator (`orderflow/publishing/orders.py`)
if it is required, and in `ui/orders/order.js` if the page shows it.

The constraints stand once, in the annotations. `msgspec` checks them in C on the fast path; `handlers.validation` reads
the same annotations to name every error when that path refuses a message. The fields stand in the contract's order, in
which they are answered, too. An order holds no cycles: the garbage collector need not look at it.
"""

from datetime import UTC, datetime
from typing import Annotated, Self

from msgspec import Meta, Struct

SUBJECT_NAME = "order_uid"
"""What logs and answers call the subject of a message."""
MAX_KEY_BYTES = 512
"""Longest indexed text in bytes of UTF-8: PostgreSQL refuses B-tree keys over about 2,700 bytes."""
INT4_MAX = 2**31 - 1
INT8_MAX = 2**63 - 1

Text = Annotated[str, Meta()]
"""Any text without NUL."""
RequiredText = Annotated[str, Meta(min_length=1, extra={"required": True})]
"""Text that holds more than white space."""
Key = Annotated[str, Meta(min_length=1, max_length=MAX_KEY_BYTES, extra={"required": True, "max_bytes": MAX_KEY_BYTES})]
"""Required text that is indexed."""
Int4 = Annotated[int, Meta(ge=-INT4_MAX - 1, le=INT4_MAX)]
Count4 = Annotated[int, Meta(ge=0, le=INT4_MAX)]
"""A whole number of at least 0 that fits PostgreSQL's integer."""
Positive8 = Annotated[int, Meta(gt=0, le=INT8_MAX)]
"""A whole number above 0 that fits PostgreSQL's bigint."""


class UtcTime(datetime):
    """An instant in UTC, to the microsecond; a type of its own so that RFC 3339 is parsed by `parse_time` alone."""

    @classmethod
    def of(cls, moment: datetime) -> Self:
        """Return `moment` (which must know its zone) in UTC. Raises `OverflowError` outside the years 1 to 9999."""
        if moment.tzinfo is UTC and isinstance(moment, cls):
            return moment
        utc = moment.astimezone(UTC)
        return cls.combine(utc.date(), utc.timetz())


class Delivery(Struct, kw_only=True, gc=False):
    """Who receives the order, and where. All of it is personal data."""

    name: RequiredText
    phone: RequiredText
    zip: Text = ""
    city: RequiredText
    address: RequiredText
    region: Text = ""
    email: Text = ""


class Payment(Struct, kw_only=True, gc=False):
    """How the order is paid. Amounts are in the currency's own unit, whole numbers."""

    transaction: RequiredText
    request_id: Text = ""
    currency: RequiredText
    provider: RequiredText
    amount: Count4
    payment_dt: Positive8
    bank: Text = ""
    delivery_cost: Count4
    goods_total: Count4
    custom_fee: Count4

    @property
    def adds_up(self) -> bool:
        """Whether the amount is the sum of its parts."""
        return self.amount == self.goods_total + self.delivery_cost + self.custom_fee


class Item(Struct, kw_only=True, gc=False):
    """One line of the order. `rid` is unique within the order."""

    chrt_id: Positive8
    track_number: Key
    price: Count4
    rid: Key
    name: RequiredText
    sale: Count4
    size: RequiredText
    total_price: Count4
    nm_id: Positive8
    brand: RequiredText
    status: Count4


class Order(Struct, kw_only=True, gc=False):
    """A valid order."""

    order_uid: Key
    track_number: Key
    entry: RequiredText
    delivery: Delivery
    payment: Payment
    items: Annotated[list[Item], Meta(min_length=1)]
    locale: RequiredText
    internal_signature: Text = ""
    customer_id: Key
    delivery_service: Text = ""
    shardkey: Text = ""
    sm_id: Int4 = 0
    date_created: UtcTime
    oof_shard: Text = ""
