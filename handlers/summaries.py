"""Reads lists of stored orders from PostgreSQL, newest first, in pages. Data of the recipient is not read."""

from datetime import datetime
from typing import Any

import attrs
from msgspec import Struct

from handlers.reader import HORIZON, Queryable
from handlers.times import render_utc

_SELECT = """
SELECT o.order_uid, o.track_number, o.customer_id, o.date_created, o.delivery_service,
       (SELECT count(*) FROM order_items i WHERE i.order_uid = o.order_uid)::integer AS items,
       o.payment_amount, o.payment_currency
FROM orders o
"""
_ORDER = "ORDER BY o.date_created DESC, o.order_uid DESC LIMIT"
MAX_FUTURE = 100
"""Orders dated in the future are counted up to this number."""


_DATED_IN_FUTURE = f"o.date_created > {HORIZON}"


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
    """A search: orders that match every given text, positioned after `before` in the list, at most `limit` orders.

    Orders dated in the future (after `HORIZON`) are found only with `future`, and then no others.
    """

    track_number: str | None = None
    customer_id: str | None = None
    future: bool = False
    before: OrderCursor | None = None
    limit: int


@attrs.frozen
class Page:
    """A page of orders, and the cursor of the next page. `next` is None if there are no more orders.

    `future` is the number of orders dated in the future that match the search's texts, at most `MAX_FUTURE`.
    """

    orders: list[Summary]
    next: OrderCursor | None
    future: int


async def fetch_page(connection: Queryable, search: Search, timeout_s: float | None = None) -> Page:
    """Return a page of the orders that match. New orders do not shift the later pages."""
    query, arguments = build_query(search)
    rows = await connection.fetch(query, *arguments, timeout=timeout_s)
    count, texts = build_future_count(search)
    [[future]] = await connection.fetch(count, *texts, timeout=timeout_s)
    shown = rows[: search.limit]
    after = OrderCursor(shown[-1]["date_created"], shown[-1]["order_uid"]) if len(rows) > search.limit else None
    return Page([_summary(row) for row in shown], after, future)


def build_query(search: Search) -> tuple[str, list[Any]]:
    """Return the query and its arguments. It reads one row more than the limit, to see whether there is a next page."""
    conditions, arguments = _matching(search)
    if search.future:
        conditions.append(_DATED_IN_FUTURE)
    if search.before is None:
        if not search.future:
            conditions.append(f"o.date_created <= {HORIZON}")
    else:
        # As text: asyncpg sends the last microsecond of 9999, which .NET sends for "no date", as infinity.
        arguments += search.before.date_created.isoformat(), search.before.order_uid
        date, uid = f"${len(arguments) - 1}::text::timestamptz", f'${len(arguments)}::text COLLATE "C"'
        # One upper bound: of two, the scan of the index would begin at the one that is named first.
        latest = date if search.future else f"least({date}, {HORIZON})"
        conditions.append(f"(o.date_created, o.order_uid) < ({latest}, {uid})")
    arguments.append(search.limit + 1)
    return f"{_SELECT}WHERE {' AND '.join(conditions)}\n{_ORDER} ${len(arguments)}", arguments


def build_future_count(search: Search) -> tuple[str, list[Any]]:
    """Return the query that counts the matching orders dated in the future, and its arguments."""
    conditions, arguments = _matching(search)
    where = " AND ".join([*conditions, _DATED_IN_FUTURE])
    # In this order it follows the index: any rows in any order would be looked for in the whole table.
    found = f"SELECT FROM orders o WHERE {where} ORDER BY o.date_created DESC LIMIT {MAX_FUTURE}"
    return f"SELECT count(*) FROM ({found}) AS found", arguments


def _matching(search: Search) -> tuple[list[str], list[Any]]:
    wanted = {"track_number": search.track_number, "customer_id": search.customer_id}
    given = {column: text for column, text in wanted.items() if text is not None}
    return [f"o.{column} = ${number}" for number, column in enumerate(given, 1)], list(given.values())


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
