"""Prepares an order for writing: everything that needs no transaction.

This runs before the writer gets the order, while the writer writes an earlier batch.
"""

from struct import Struct, calcsize
from typing import Any

import attrs

from handlers.body import digest, render_content
from handlers.copy_format import microseconds, row_begin, text_fields
from handlers.fields import ITEM_ROW, ORDER_ROW, TABLES, TEXT, TIME, Column, compiled
from handlers.model import Order


def _texts(row: list[Column]) -> list[str]:
    return [column.value for column in row if column.kind is TEXT]


def _pack_numbers(parameters: str, row: list[Column]) -> Any:
    """Return a function that packs all columns of a row except texts: each length, then the value."""
    numbers = [column for column in row if column.kind is not TEXT]
    values = [f"microseconds({column.value})" if column.kind is TIME else column.value for column in numbers]
    lengths = [calcsize(f">{column.kind.code}") for column in numbers]
    fields = ", ".join(f"{length}, {value}" for length, value in zip(lengths, values, strict=True))
    pack = Struct(">" + "".join(f"i{column.kind.code}" for column in numbers)).pack
    return compiled(parameters, f"pack({fields})", pack=pack, microseconds=microseconds)


_order_texts = compiled("order, delivery, payment", f"[{', '.join(_texts(ORDER_ROW))}]")
_order_numbers = _pack_numbers("order, delivery, payment, content_digest", ORDER_ROW)
_item_texts = compiled("item", f"({', '.join(_texts(ITEM_ROW))})")
_item_numbers = _pack_numbers("position, item", ITEM_ROW)
_ORDER_BEGIN = row_begin(len(TABLES["orders"]))
_ITEM_BEGIN = row_begin(len(TABLES["order_items"]))
# Each text has two pieces: its length and its value.
_ORDER_PIECES, _ITEM_PIECES, _UID_PIECES = 2 * len(_texts(ORDER_ROW)), 2 * len(_texts(ITEM_ROW)), 2


@attrs.frozen
class PreparedOrder:
    """An order as JSON and as rows in COPY's binary format.

    `order_row` is the row of `orders` up to `content_digest`. The writer appends the columns `fields.STORED_WITH`.
    `item_rows` are all rows of `order_items`.
    """

    order_uid: str
    content: bytes
    content_digest: bytes
    order_row: bytes
    item_rows: bytes


def prepare(order: Order) -> PreparedOrder:
    """Return the content and the rows of an order. The order must be valid, so that every number fits its column."""
    content = render_content(order)
    fingerprint = digest(content)
    delivery, payment = order.delivery, order.payment
    texts = _order_texts(order, delivery, payment)
    for item in order.items:
        texts += _item_texts(item)
    pieces = text_fields(texts)
    numbers = _order_numbers(order, delivery, payment, fingerprint)
    begin = _ORDER_PIECES
    order_row = b"".join((_ORDER_BEGIN, *pieces[:begin], numbers))
    item_begin = b"".join((_ITEM_BEGIN, *pieces[:_UID_PIECES]))
    item_rows = []
    for position, item in enumerate(order.items):
        item_rows.append(item_begin)
        item_rows += pieces[begin : begin + _ITEM_PIECES]
        item_rows.append(_item_numbers(position, item))
        begin += _ITEM_PIECES
    return PreparedOrder(order.order_uid, content, fingerprint, order_row, b"".join(item_rows))
