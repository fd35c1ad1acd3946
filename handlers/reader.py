"""Reads stored orders from PostgreSQL, as the bodies that HTTP returns.

PostgreSQL generates the whole body as bytes, with the fields and the order of `handlers.model`. It escapes texts
exactly as msgspec does. This is faster: the reader gets one value per order instead of about forty, and changes nothing
in it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from engine.telemetry.trace_context import parse_traceparent
from handlers.body import Bodies
from handlers.fields import FIELDS, TEXT, TIME, Column, Part

_UTC = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
_ITEMS = """(SELECT string_agg({}, ',' ORDER BY i.position) FROM order_items i WHERE i.order_uid = o.order_uid)"""


def _object(fields: Sequence[Column | Part], table: str) -> str:
    """Return the SQL expression that renders fields as a JSON object."""
    return _rendered([_member(field, table) for field in fields])


def _rendered(parts: Iterable[tuple[str, str]]) -> str:
    members, values = zip(*parts, strict=True)
    return f"format('{{{','.join(members)}}}', {', '.join(values)})"


def _member(field: Column | Part, table: str) -> tuple[str, str]:
    """Return a field's part of the JSON template, and the SQL expression of its value."""
    if isinstance(field, Part):
        if field.several:
            return f'"{field.field}":[%s]', _ITEMS.format(_object(field.columns, "i"))
        return f'"{field.field}":%s', _object(field.columns, table)
    column = f"{table}.{field.name}"
    if field.kind is TIME:
        # The fraction is left out if it is zero, as `handlers.body` does.
        return f'"{field.field}":"%sZ"', f"replace({_UTC.format(column)}, '.000000', '')"
    return f'"{field.field}":%s', f"to_json({column})" if field.kind is TEXT else column


# With exactly six digits, as in `handlers.body.render_time`.
_STORED = [(f'"{name}":"%sZ"', _UTC.format(f"o.{name}")) for name in ("created_at", "updated_at")]
_BODY = f"convert_to({_rendered([*(_member(field, 'o') for field in FIELDS), *_STORED])}, 'UTF8')"
HORIZON = "(now() + interval '1 day')"
"""An SQL expression: an order that is dated later is dated in the future, not only by a clock that is ahead.

Lists of the newest orders leave such orders out: a wrong year would keep them on top for ever.
"""
# One statement uses one snapshot, so an order and its items are always from the same version.
_BY_UID = f"SELECT o.order_uid, {_BODY}, o.traceparent\nFROM orders o\nWHERE o.order_uid = ANY($1::text[])"
_NEWEST_BEFORE = (
    f"SELECT o.order_uid, {_BODY}, o.traceparent, o.date_created\nFROM orders o\n"
    + f"""WHERE (o.date_created, o.order_uid) < (least($1::text::timestamptz, {HORIZON}), $2::text COLLATE "C")
ORDER BY o.date_created DESC, o.order_uid DESC LIMIT $3"""
)


class Queryable(Protocol):
    """An asyncpg connection or pool."""

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[Any]:  # noqa: ASYNC109
        """Run a query and return its rows."""


async def fetch_bodies(connection: Queryable, uids: Sequence[str], timeout_s: float | None = None) -> Bodies:
    """Return the bodies by uid. Uids that are not stored are left out."""
    rows = await connection.fetch(_BY_UID, list(uids), timeout=timeout_s)
    return _bodies(rows)


async def fetch_newest(
    connection: Queryable, before: tuple[Any, str], limit: int
) -> tuple[Bodies, tuple[Any, str] | None]:
    """Return a page of orders, newest `date_created` first, and the `before` of the next page.

    Orders dated in the future (after `HORIZON`) are left out. `before` is a (date_created, order_uid) and is exclusive.
    The second value is None after the last page.
    """
    # As text: asyncpg sends the first microsecond of year 1, Go's zero time, as minus infinity.
    rows = await connection.fetch(_NEWEST_BEFORE, before[0].isoformat(), before[1], limit)
    return _bodies(rows), (rows[-1]["date_created"], rows[-1]["order_uid"]) if len(rows) == limit else None


def _bodies(rows: Iterable[Any]) -> Bodies:
    bodies, traces = Bodies(), {}
    for uid, body, traceparent, *_ in rows:
        bodies[uid] = body
        if parsed := parse_traceparent(traceparent):
            traces[uid] = parsed
    bodies.traces = traces
    return bodies
