"""The model of an order, for messages from Kafka and for answers of HTTP.

To add a field, change this file, add a migration, and change `http/lookup/openapi.json`. If the field is required, also
change the generator (`orderflow/publishing/orders.py`). If the page shows it, also change `ui/orders/order.js`.

The constraints are defined only here, in the annotations. `msgspec` checks them in C on the fast path. If that path
refuses a message, `handlers.validation` reads the same annotations and returns every error. HTTP returns the fields in
the order that they have here. Orders contain no reference cycles, so `gc=False` is safe.
"""

from typing import Annotated, NewType

from msgspec import Meta, Struct

SUBJECT_NAME = "order_uid"
"""The name of a message's subject in logs and answers."""
MAX_KEY_BYTES = 512
"""The longest indexed text, in bytes of UTF-8. PostgreSQL refuses B-tree keys of more than about 2,700 bytes."""
_MAX_BYTES_PER_CHARACTER = 4
"""The most bytes of a character in UTF-8. It gives a number of characters that always fits a limit in bytes."""
INT4_MAX = 2**31 - 1
INT8_MAX = 2**63 - 1

Text = Annotated[str, Meta()]
"""Any text without NUL."""
RequiredText = Annotated[str, Meta(min_length=1, extra={"required": True})]
"""Text that is not empty and not only white space."""
Key = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_KEY_BYTES // _MAX_BYTES_PER_CHARACTER,
        extra={"required": True, "max_bytes": MAX_KEY_BYTES},
    ),
]
"""Required text that is indexed. The decoder in C counts characters: for longer keys, which are rare, bytes decide."""
Int4 = Annotated[int, Meta(ge=-INT4_MAX - 1, le=INT4_MAX)]
Count4 = Annotated[int, Meta(ge=0, le=INT4_MAX)]
"""A whole number from 0 that fits the type integer of PostgreSQL."""
Positive8 = Annotated[int, Meta(gt=0, le=INT8_MAX)]
"""A whole number from 1 that fits the type bigint of PostgreSQL."""


UtcTime = NewType("UtcTime", str)
"""A time in UTC as JSON has it: RFC 3339 with `Z`, and with six digits of a second unless they are zero."""


class Delivery(Struct, kw_only=True, gc=False):
    """The recipient of the order and the address. All fields are personal data."""

    name: RequiredText
    phone: RequiredText
    zip: Text = ""
    city: RequiredText
    address: RequiredText
    region: Text = ""
    email: Text = ""


class Payment(Struct, kw_only=True, gc=False):
    """The payment of the order. Amounts are whole numbers in the unit of the currency."""

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
        """Whether `amount` is the sum of `goods_total`, `delivery_cost` and `custom_fee`."""
        return self.amount == self.goods_total + self.delivery_cost + self.custom_fee


class Item(Struct, kw_only=True, gc=False):
    """One item of the order. `rid` is unique within the order."""

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
