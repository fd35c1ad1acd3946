"""Rows in the binary format of COPY, packed in advance. The measurement of the raw COPY limit sends them.

https://www.postgresql.org/docs/current/sql-copy.html describes the format.
"""

import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
from msgspec import json

from bench.reference_tables import TABLES, rows_of

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = struct.pack(">h", -1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_INT4, _INT8, _LENGTH = struct.Struct(">ii"), struct.Struct(">iq"), struct.Struct(">i")
_INT8_COLUMNS = {"payment_dt"}
_MICROSECOND = timedelta(microseconds=1)


Places = dict[str, tuple[int, int]]
"""The position of one transaction's rows in the file: (offset, length) by table."""


@attrs.frozen
class PackedOrders:
    """Packed orders in a file, so that they use no memory during other measurements."""

    file: Path
    transactions: list[Places]
    orders: int
    items: int

    def __iter__(self) -> Iterator[dict[str, bytes]]:
        """Yield each transaction's rows by table."""
        with self.file.open("rb") as file:
            for transaction in self.transactions:
                rows = {}
                for table, (offset, length) in transaction.items():
                    file.seek(offset)
                    rows[table] = file.read(length)
                yield rows


def pack_orders(values: Iterable[bytes], file: Path, orders_a_transaction: int) -> PackedOrders:
    """Pack orders, given as JSON, into `file`."""
    transactions: list[Places] = []
    orders = items = 0
    remaining = iter(values)
    with file.open("wb") as output:
        while chunk := list(islice(remaining, orders_a_transaction)):
            packed = {table: [_HEADER] for table in TABLES}
            for value in chunk:
                rows = _packed_rows(json.decode(value))
                for table, lines in rows.items():
                    packed[table] += lines
                items += len(rows["order_items"])
            places: Places = {}
            for table, lines in packed.items():
                offset = output.tell()
                places[table] = (offset, output.write(b"".join(lines) + _TRAILER))
            transactions.append(places)
            orders += len(chunk)
    return PackedOrders(file, transactions, orders, items)


def _packed_rows(order: dict[str, Any]) -> dict[str, list[bytes]]:
    created = datetime.fromisoformat(order["date_created"])
    return {table: [_row(TABLES[table], row) for row in rows] for table, rows in rows_of(order, created).items()}


def _row(columns: tuple[str, ...], values: tuple[Any, ...]) -> bytes:
    return struct.pack(">h", len(values)) + b"".join(map(_field, columns, values))


def _field(column: str, value: Any) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        return _LENGTH.pack(len(text)) + text
    if isinstance(value, datetime):
        return _INT8.pack(8, (value - _EPOCH) // _MICROSECOND)
    return _INT8.pack(8, value) if column in _INT8_COLUMNS else _INT4.pack(4, value)
