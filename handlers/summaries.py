"""Reads lists of stored orders from PostgreSQL, newest first, in pages. Data of the recipient is not read."""

from datetime import datetime
from typing import Any

import attrs
from msgspec import Struct

from handlers.reader import Queryable
from handlers.times import render_utc

_SELECT = """
SELECT o.order_uid, o.track_number, o.customer_id, o.date_created, o.delivery_service,
       (SELECT count(*) FROM order_items i WHERE i.order_uid = o.order_uid)::integer AS items,
       o.payment_amount, o.payment_currency
FROM orders o
"""
_ORDER = "ORDER BY o.date_created DESC, o.order_uid DESC LIMIT"


class Summary(Struct, kw_only=True, gc=False):
    """One order of a list. HTTP returns the fields in this order. `items` is the number of items."""

    order_uid: str
    track_number: str
    customer_id: str
    date_created: str
    delivery_service: str
    items: int
    amount: int
    currency: str


@attrs.frozen
class OrderCursor:
    """A position in a list. All lists are sorted by `date_created`, then `order_uid`, both descending."""

    date_created: datetime
    order_uid: str


@attrs.frozen(kw_only=True)
class Search:
    """A search: orders that match every given text, positioned after `before` in the list, at most `limit` orders."""

    track_number: str | None = None
    customer_id: str | None = None
    before: OrderCursor | None = None
    limit: int


@attrs.frozen
class Page:
    """A page of orders, and the cursor of the next page. `next` is None if there are no more orders."""

    orders: list[Summary]
    next: OrderCursor | None


async def fetch_page(connection: Queryable, search: Search, timeout_s: float | None = None) -> Page:
    """Return a page of the orders that match. New orders do not shift the later pages."""
    query, arguments = build_query(search)
    rows = await connection.fetch(query, *arguments, timeout=timeout_s)
    shown = rows[: search.limit]
    after = OrderCursor(shown[-1]["date_created"], shown[-1]["order_uid"]) if len(rows) > search.limit else None
    return Page([_summary(row) for row in shown], after)


def build_query(search: Search) -> tuple[str, list[Any]]:
    """Return the query and its arguments. It reads one row more than the limit, to see whether there is a next page."""
    conditions: list[str] = []
    arguments: list[Any] = []
    for column, wanted in (("track_number", search.track_number), ("customer_id", search.customer_id)):
        if wanted is not None:
            arguments.append(wanted)
            conditions.append(f"o.{column} = ${len(arguments)}")
    if search.before is not None:
        arguments += search.before.date_created, search.before.order_uid
        last = len(arguments)
        conditions.append(f'(o.date_created, o.order_uid) < (${last - 1}::timestamptz, ${last}::text COLLATE "C")')
    where = f"WHERE {' AND '.join(conditions)}\n" if conditions else ""
    arguments.append(search.limit + 1)
    return f"{_SELECT}{where}{_ORDER} ${len(arguments)}", arguments


def _summary(row: Any) -> Summary:
    return Summary(
        order_uid=row["order_uid"],
        track_number=row["track_number"],
        customer_id=row["customer_id"],
        date_created=render_utc(row["date_created"]),
        delivery_service=row["delivery_service"],
        items=row["items"],
        amount=row["payment_amount"],
        currency=row["payment_currency"],
    )
