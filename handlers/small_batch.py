"""Writes a few new orders in one statement, from their JSON: the rows that COPY would write, in both tables.

PostgreSQL reads the JSON more slowly than it reads packed rows, so this is for batches of a few orders only. What it
saves are the round trips of two COPYs.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Raw, json

from engine.handler import Statement
from engine.records import time_of
from handlers.copy_format import bytes_field
from handlers.fields import FIELDS, ITEM_ROW, ORDER_ROW, STORED_WITH, Column, Part
from handlers.prepared import PreparedOrder
from handlers.versions import Candidate, Write

BYTES = 64 * 1024
"""The most JSON in a batch that is written so."""
_JSON = "jsonb"
_OF_BATCH = {"source_topic": "$2::text", "batch_id": "$3::uuid", "created_at": "$4", "updated_at": "$4"}
_ITEMS = next(field for field in FIELDS if isinstance(field, Part) and field.several)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _record(columns: list[Column], *objects: str) -> str:
    """Return the columns of a record that PostgreSQL reads from a JSON object, by the names in JSON."""
    typed = [f"{_quoted(column.field)} {column.kind.postgres}" for column in columns]
    return ", ".join([*typed, *(f"{_quoted(name)} {_JSON}" for name in objects)])


def _names(columns: list[Column]) -> str:
    return ", ".join(_quoted(column.name) for column in columns)


def _order_value(column: Column) -> str:
    holder, _, field = column.value.rpartition(".")
    return f"{_quoted(holder)}.{_quoted(field)}" if holder else f"message.{_quoted(column.name)}"


def _stored_with(column: Column) -> str:
    return _OF_BATCH.get(column.name) or f"message.{_quoted(column.name)}"


def _tables() -> str:
    own = [field for field in FIELDS if isinstance(field, Column)]
    parts = [field for field in FIELDS if isinstance(field, Part) and not field.several]
    records = [f'{_JSON}_to_record(message.content) AS "order" ({_record(own, *(part.field for part in parts))})']
    records += [
        f'{_JSON}_to_record("order".{_quoted(part.field)}) AS {_quoted(part.field)} ({_record(part.columns)})'
        for part in parts
    ]
    order_values = [*map(_order_value, ORDER_ROW), *map(_stored_with, STORED_WITH)]
    of_message = [*(column for column in ORDER_ROW if "." not in column.value), *STORED_WITH]
    message = [f"{_quoted(each.name)} {each.kind.postgres}" for each in of_message if each.name not in _OF_BATCH]
    item_values = [f"item.{_quoted(column.field)}" if "." in column.value else "place - 1" for column in ITEM_ROW]
    of_json = [column for column in ITEM_ROW if "." in column.value]
    # Items read new_orders, so that PostgreSQL inserts the orders first, as COPY does. Otherwise it does so last. Then
    # two workers with the same order can wait for each other, and a trigger of the items does not find its order.
    return f"""
message AS MATERIALIZED (
    SELECT * FROM {_JSON}_to_recordset($1::text::{_JSON}) AS message (content {_JSON}, {", ".join(message)})
    WHERE (SELECT passed FROM fence)
), new_orders AS (
    INSERT INTO orders ({_names([*ORDER_ROW, *STORED_WITH])})
    SELECT {", ".join(order_values)} FROM message, {", ".join(records)}
    RETURNING order_uid
), new_items AS (
    INSERT INTO order_items (order_uid, {_names(ITEM_ROW)})
    SELECT message.content ->> 'order_uid', {", ".join(item_values)}
    FROM message, ROWS FROM ({_JSON}_to_recordset(message.content -> '{_ITEMS.field}') AS ({_record(of_json)}))
         WITH ORDINALITY AS item ({", ".join(_quoted(column.field) for column in of_json)}, place)
    WHERE (SELECT count(*) FROM new_orders) > 0
)
"""


_TABLES = _tables()


def insert_statement(writes: list[Write[PreparedOrder]], topic: str, batch_id: UUID, at: datetime) -> Statement:
    """Return what inserts new orders, sorted by uid, with their items. All have the time `at`."""
    messages = [_message(write.candidate) for write in writes]
    return Statement(_TABLES, (json.encode(messages).decode(), topic, batch_id, at))


def _message(candidate: Candidate[PreparedOrder]) -> dict[str, Any]:
    source = candidate.source
    return {
        "content": Raw(candidate.order.content),
        "content_digest": bytes_field(candidate.digest).decode(),
        "source_partition": source.partition,
        "source_offset": source.offset,
        "source_epoch": source.epoch,
        "produced_at": time_of(source.timestamp),
        "traceparent": candidate.traceparent,
    }
