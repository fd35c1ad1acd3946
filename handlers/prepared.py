"""Prepares an order for writing: everything that needs no transaction.

This runs before the writer gets the order, while the writer writes an earlier batch.
"""

from collections.abc import Callable

from msgspec import Struct

from engine.verdict import Rejected
from handlers.body import digest, render_content
from handlers.copy_format import bytes_field, escaped_fields, fields
from handlers.decode import decode_order, decode_quickly, is_utf8
from handlers.fields import ITEM_ROW, ORDER_ROW, Column, compiled
from handlers.model import Order
from handlers.value_formats import JSON


def _values(columns: list[Column]) -> str:
    return ", ".join(column.value for column in columns)


_order_values = compiled("order, delivery, payment", f"({_values(ORDER_ROW[:-1])})")
_items_values = compiled(
    "order_uid, items", f"[(order_uid, {_values(ITEM_ROW)}) for position, item in enumerate(items)]"
)


class PreparedOrder(Struct, frozen=True, gc=False):
    """An order as JSON and as rows for COPY: see `handlers.copy_format`.

    `order_row` is the row of `orders` up to `content_digest`. The writer appends the columns `fields.STORED_WITH`.
    `item_rows` are all rows of `order_items`.
    """

    order_uid: str
    content: bytes
    content_digest: bytes
    order_row: bytes
    item_rows: bytes


def read_order(value: bytes | None) -> PreparedOrder | Rejected:
    """Return the order in the bytes of a message, prepared, or the reasons why it is not valid.

    The result is that of `decode_order` and `prepare`. If a producer writes an order as HTTP returns it, the bytes are
    the content: one copy is enough, and they are UTF-8, because the content is.
    """
    order = decode_quickly(value) if value else None
    if value and order is not None:
        content = render_content(order)
        if content == value:
            return _prepare(order, value)
        if is_utf8(value):
            return _prepare(order, content)
    verdict = decode_order(value)
    return verdict if isinstance(verdict, Rejected) else prepare(verdict)


def reader_of(value_format: str) -> Callable[[bytes | None], PreparedOrder | Rejected]:
    """Return the function that reads the values of messages in a format of `handlers.value_formats`."""
    if value_format == JSON:
        return read_order

    def read(value: bytes | None) -> PreparedOrder | Rejected:
        verdict = decode_order(value, value_format)
        return verdict if isinstance(verdict, Rejected) else prepare(verdict)

    return read


def prepare(order: Order) -> PreparedOrder:
    """Return the content and the rows of an order. The order must be valid, so that every value fits its column."""
    return _prepare(order, render_content(order))


def _prepare(order: Order, content: bytes) -> PreparedOrder:
    fingerprint = digest(content)
    # Only an escape contains a backslash.
    encode = fields if b"\\" not in content else escaped_fields
    order_uid = order.order_uid
    row = encode(_order_values(order, order.delivery, order.payment))
    items = list(map(encode, _items_values(order_uid, order.items)))
    items.append(b"")
    return PreparedOrder(order_uid, content, fingerprint, b"%b,%b" % (row, bytes_field(fingerprint)), b"\n".join(items))
