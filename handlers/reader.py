"""Reads stored orders back from PostgreSQL, as the bodies that HTTP answers with."""

from collections.abc import Sequence
from typing import Any, Protocol

from handlers.body import render_body
from handlers.model import Delivery, Item, Order, Payment, UtcTime

# One statement is one snapshot: an order and its items are always of the same version.
_SELECT = """
SELECT o.*, (
    SELECT array_agg(ROW(i.chrt_id, i.track_number, i.price, i.rid, i.name, i.sale, i.size, i.total_price, i.nm_id,
                         i.brand, i.status) ORDER BY i.position)
    FROM order_items i WHERE i.order_uid = o.order_uid
) AS items
FROM orders o
"""
_BY_UID = _SELECT + "WHERE o.order_uid = ANY($1::text[])"
_NEWEST_BEFORE = (
    _SELECT
    + """WHERE (o.date_created, o.order_uid) < ($1::timestamptz, $2::text COLLATE "C")
ORDER BY o.date_created DESC, o.order_uid DESC LIMIT $3"""
)


class Fetcher(Protocol):
    """An asyncpg connection or pool."""

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[Any]:  # noqa: ASYNC109
        """Run a query and return its rows."""


async def fetch_bodies(connection: Fetcher, uids: Sequence[str], timeout_s: float | None = None) -> dict[str, bytes]:
    """Return the bodies of those of `uids` that are stored, by uid."""
    rows = await connection.fetch(_BY_UID, list(uids), timeout=timeout_s)
    return {row["order_uid"]: render_row(row) for row in rows}


async def fetch_newest(
    connection: Fetcher, before: tuple[Any, str], limit: int
) -> tuple[list[tuple[str, bytes]], tuple[Any, str] | None]:
    """Return a page of the newest orders by `date_created`, as (uid, body), and where the next page begins.

    `before` is an exclusive (date_created, order_uid); the second value is None after the last page.
    """
    rows = await connection.fetch(_NEWEST_BEFORE, *before, limit)
    bodies = [(row["order_uid"], render_row(row)) for row in rows]
    return bodies, (rows[-1]["date_created"], rows[-1]["order_uid"]) if len(rows) == limit else None


def render_row(row: Any) -> bytes:
    """Render a row of `orders`, with its items as a column, as the body."""
    return render_body(_order(row), row["created_at"], row["updated_at"])


def _order(row: Any) -> Order:
    return Order(
        order_uid=row["order_uid"],
        track_number=row["track_number"],
        entry=row["entry"],
        delivery=Delivery(
            name=row["delivery_name"],
            phone=row["delivery_phone"],
            zip=row["delivery_zip"],
            city=row["delivery_city"],
            address=row["delivery_address"],
            region=row["delivery_region"],
            email=row["delivery_email"],
        ),
        payment=Payment(
            transaction=row["payment_transaction"],
            request_id=row["payment_request_id"],
            currency=row["payment_currency"],
            provider=row["payment_provider"],
            amount=row["payment_amount"],
            payment_dt=row["payment_dt"],
            bank=row["payment_bank"],
            delivery_cost=row["payment_delivery_cost"],
            goods_total=row["payment_goods_total"],
            custom_fee=row["payment_custom_fee"],
        ),
        items=[_item(item) for item in row["items"] or ()],
        locale=row["locale"],
        internal_signature=row["internal_signature"],
        customer_id=row["customer_id"],
        delivery_service=row["delivery_service"],
        shardkey=row["shardkey"],
        sm_id=row["sm_id"],
        date_created=UtcTime.of(row["date_created"]),
        oof_shard=row["oof_shard"],
    )


def _item(values: Any) -> Item:
    chrt_id, track_number, price, rid, name, sale, size, total_price, nm_id, brand, status = values
    return Item(
        chrt_id=chrt_id,
        track_number=track_number,
        price=price,
        rid=rid,
        name=name,
        sale=sale,
        size=size,
        total_price=total_price,
        nm_id=nm_id,
        brand=brand,
        status=status,
    )
