"""An order made ready to be written: everything that needs no transaction is done while the writer is at work."""

from struct import Struct

import attrs

from handlers.body import DIGEST_BYTES, digest, render_content
from handlers.copy_format import microseconds, row_begin, text_fields
from handlers.model import Item, Order

_ORDER_TEXTS = (
    "order_uid",
    "track_number",
    "entry",
    "locale",
    "internal_signature",
    "customer_id",
    "delivery_service",
    "shardkey",
    "oof_shard",
    "delivery_name",
    "delivery_phone",
    "delivery_zip",
    "delivery_city",
    "delivery_address",
    "delivery_region",
    "delivery_email",
    "payment_transaction",
    "payment_request_id",
    "payment_currency",
    "payment_provider",
    "payment_bank",
)
_ORDER_NUMBERS = (
    "sm_id",
    "payment_amount",
    "payment_delivery_cost",
    "payment_goods_total",
    "payment_custom_fee",
    "payment_dt",
    "date_created",
    "content_digest",
)
_STORED_WITH = (
    "source_topic",
    "source_partition",
    "source_offset",
    "source_epoch",
    "produced_at",
    "batch_id",
    "created_at",
    "updated_at",
    "traceparent",
)
_ITEM_TEXTS = ("rid", "track_number", "name", "size", "brand")
_ITEM_NUMBERS = ("position", "price", "sale", "total_price", "status", "chrt_id", "nm_id")
ORDER_COLUMNS = (*_ORDER_TEXTS, *_ORDER_NUMBERS, *_STORED_WITH)
"""The columns of `orders`, in the order in which `PreparedOrder.order_row` and then the writer fill them."""
ITEM_COLUMNS = ("order_uid", *_ITEM_TEXTS, *_ITEM_NUMBERS)
"""The columns of `order_items`, in the order in which `PreparedOrder.item_rows` fills them."""

# A field's length stands before its value.
_INT4, _INT8 = 4, 8
_pack_order_numbers = Struct(f">{'ii' * 5}{'iq' * 2}i{DIGEST_BYTES}s").pack
_pack_item_numbers = Struct(f">{'ii' * 5}{'iq' * 2}").pack
_ORDER_BEGIN = row_begin(len(ORDER_COLUMNS))
_ITEM_BEGIN = row_begin(len(ITEM_COLUMNS))


@attrs.frozen
class PreparedOrder:
    """An order as JSON and as rows in COPY's binary format.

    `order_row` is the row of `orders` up to `content_digest`: the writer appends where it comes from and its times.
    `item_rows` are all rows of `order_items`.
    """

    order_uid: str
    content: bytes
    content_digest: bytes
    order_row: bytes
    item_rows: bytes


def prepare(order: Order) -> PreparedOrder:
    """Render an order's content and its rows. The order must be valid: every number fits its column."""
    content = render_content(order)
    fingerprint = digest(content)
    pieces = text_fields(_texts(order))
    begin, width = 2 * len(_ORDER_TEXTS), 2 * len(_ITEM_TEXTS)
    order_row = b"".join((_ORDER_BEGIN, *pieces[:begin], _order_numbers(order, fingerprint)))
    item_begin = b"".join((_ITEM_BEGIN, *pieces[:2]))
    item_rows = []
    for position, item in enumerate(order.items):
        item_rows.append(item_begin)
        item_rows += pieces[begin : begin + width]
        item_rows.append(_item_numbers(position, item))
        begin += width
    return PreparedOrder(order.order_uid, content, fingerprint, order_row, b"".join(item_rows))


def _texts(order: Order) -> list[str]:
    """Return the values of `_ORDER_TEXTS`, and then, item by item, those of `_ITEM_TEXTS`."""
    delivery, payment = order.delivery, order.payment
    texts = [
        order.order_uid,
        order.track_number,
        order.entry,
        order.locale,
        order.internal_signature,
        order.customer_id,
        order.delivery_service,
        order.shardkey,
        order.oof_shard,
        delivery.name,
        delivery.phone,
        delivery.zip,
        delivery.city,
        delivery.address,
        delivery.region,
        delivery.email,
        payment.transaction,
        payment.request_id,
        payment.currency,
        payment.provider,
        payment.bank,
    ]
    for item in order.items:
        texts += (item.rid, item.track_number, item.name, item.size, item.brand)
    return texts


def _order_numbers(order: Order, fingerprint: bytes) -> bytes:
    payment = order.payment
    created_us = microseconds(order.date_created)
    return _pack_order_numbers(
        _INT4, order.sm_id, _INT4, payment.amount, _INT4, payment.delivery_cost, _INT4, payment.goods_total,
        _INT4, payment.custom_fee, _INT8, payment.payment_dt, _INT8, created_us, DIGEST_BYTES, fingerprint,
    )  # fmt: skip


def _item_numbers(position: int, item: Item) -> bytes:
    return _pack_item_numbers(
        _INT4, position, _INT4, item.price, _INT4, item.sale, _INT4, item.total_price,
        _INT4, item.status, _INT8, item.chrt_id, _INT8, item.nm_id,
    )  # fmt: skip
