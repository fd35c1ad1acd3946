"""An order made ready to be written: everything that needs no transaction is done while the writer is at work."""

from typing import Any

import attrs

from handlers.body import digest, render_content
from handlers.model import Order

ORDER_COLUMNS = (
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
    "payment_amount",
    "payment_dt",
    "payment_bank",
    "payment_delivery_cost",
    "payment_goods_total",
    "payment_custom_fee",
    "content_digest",
    "source_partition",
    "source_offset",
    "source_epoch",
    "produced_at",
    "batch_id",
    "created_at",
    "updated_at",
)
"""The columns of `orders`, in the order in which `PreparedOrder.order_row` and the writer fill them."""
ITEM_COLUMNS = (
    "order_uid",
    "position",
    "rid",
    "chrt_id",
    "track_number",
    "price",
    "name",
    "sale",
    "size",
    "total_price",
    "nm_id",
    "brand",
    "status",
)


@attrs.frozen
class PreparedOrder:
    """An order as rows and as JSON. `order_row` holds `ORDER_COLUMNS` up to `content_digest`."""

    order_uid: str
    content: bytes
    content_digest: bytes
    order_row: tuple[Any, ...]
    item_rows: list[tuple[Any, ...]]


def prepare(order: Order) -> PreparedOrder:
    """Render an order's content and its rows."""
    content = render_content(order)
    fingerprint = digest(content)
    uid, delivery, payment = order.order_uid, order.delivery, order.payment
    order_row = (
        uid,
        order.track_number,
        order.entry,
        order.locale,
        order.internal_signature,
        order.customer_id,
        order.delivery_service,
        order.shardkey,
        order.sm_id,
        order.date_created,
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
        payment.amount,
        payment.payment_dt,
        payment.bank,
        payment.delivery_cost,
        payment.goods_total,
        payment.custom_fee,
        fingerprint,
    )
    item_rows = [
        (
            uid,
            position,
            item.rid,
            item.chrt_id,
            item.track_number,
            item.price,
            item.name,
            item.sale,
            item.size,
            item.total_price,
            item.nm_id,
            item.brand,
            item.status,
        )
        for position, item in enumerate(order.items)
    ]
    return PreparedOrder(uid, content, fingerprint, order_row, item_rows)
