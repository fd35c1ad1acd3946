"""The columns that rows, queries and checks are made from are those of the model, field by field."""

import csv
from io import StringIO
from itertools import islice
from typing import Annotated, Any, get_args, get_type_hints

import pytest
from msgspec import Meta, Struct, json

from handlers import fields
from handlers.body import digest, render_content
from handlers.decode import decode_order
from handlers.fields import DIGEST, FIELDS, INT4, INT8, ITEM_ROW, ORDER_ROW, TABLES, TEXT, TIME, Column, Kind, Part
from handlers.model import INT8_MAX, Delivery, Item, Order, Payment
from handlers.prepared import prepare
from orderflow.doctor.schema_checks import TABLES as CHECKED
from orderflow.publishing.orders import OrderGenerator

KINDS = {"str": TEXT, "UtcTime": TIME}
HOLDERS: list[tuple[type[Struct], str, str]] = [
    (Order, "order", ""),
    (Delivery, "delivery", "delivery_"),
    (Payment, "payment", "payment_"),
    (Item, "item", ""),
]


def wanted(struct: type[Struct], holder: str, prefix: str) -> list[tuple[str, Kind, str]]:
    """Return what the table must say of a struct's plain fields."""
    found = []
    for name, annotation in get_type_hints(struct, include_extras=True).items():
        base, *meta = get_args(annotation) or [annotation]
        if base in {Delivery, Payment} or name == "items":
            continue
        kind = KINDS.get(base.__name__) or (INT8 if meta[0].le == INT8_MAX else INT4)
        column = "payment_dt" if name == "payment_dt" else prefix + name
        found.append((column, kind, f"{holder}.{name}"))
    return found


def told(columns: list[Column]) -> list[tuple[str, Kind, str]]:
    return [(column.name, column.kind, column.value) for column in columns]


def test_an_order_has_a_column_for_each_field() -> None:
    """Its own, and those of its parts under the part's name; the digest is all that it adds."""
    own, delivery, payment, item = (wanted(*holder) for holder in HOLDERS)

    assert sorted(told(ORDER_ROW), key=repr) == sorted(
        [*own, *delivery, *payment, ("content_digest", DIGEST, "")], key=repr
    )
    assert sorted(told(ITEM_ROW), key=repr) == sorted([*item, ("position", INT4, "position")], key=repr)


def test_the_json_nests_the_fields_as_the_model_does() -> None:
    """In the model's order, the parts where the model has them."""
    assert [field.field for field in FIELDS] == list(get_type_hints(Order))
    parts = {field.field: field for field in FIELDS if isinstance(field, Part)}
    assert {name: part.several for name, part in parts.items()} == {"delivery": False, "payment": False, "items": True}
    for name, struct in (("delivery", Delivery), ("payment", Payment), ("items", Item)):
        assert [column.field for column in parts[name].columns] == list(get_type_hints(struct))


@pytest.mark.parametrize("table", TABLES)
def test_no_column_is_named_twice(table: str) -> None:
    """As COPY demands."""
    names = [column.name for column in TABLES[table]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("table", TABLES)
def test_the_doctor_looks_for_these_columns(table: str) -> None:
    """`orderflow doctor` misses a column that is not there."""
    assert {column.name for column in TABLES[table]} == CHECKED[table]


@pytest.mark.parametrize("annotation", [float, int, Annotated[int, Meta(le=2**40)], list[Item], Delivery, str | None])
def test_a_field_that_no_column_can_keep_is_refused_at_once(annotation: Any) -> None:
    """When the program starts, and by its name."""
    with pytest.raises(TypeError, match=r"delivery\.surprise"):
        fields._column("surprise", annotation, "delivery", "delivery_")


def read_rows(data: bytes, columns: list[Column]) -> list[dict[str, Any]]:
    """Read rows for COPY with the standard library's CSV reader. Rows may lack their last columns."""
    lines = list(csv.reader(StringIO(data.decode(), newline="")))
    return [
        {column.name: read_value(value, column.kind) for column, value in zip(columns, line, strict=True)}
        for line in lines
    ]


def read_value(value: str, kind: Kind) -> Any:
    if kind is DIGEST:
        return bytes.fromhex(value.removeprefix("\\x"))
    return int(value) if kind in {INT4, INT8} else value


@pytest.mark.parametrize("odd", ["", '"quoted", \\ and\r\n\\.\n', "null"])
@pytest.mark.parametrize("document", list(islice(OrderGenerator(11), 10)))
def test_every_field_is_in_its_column(document: dict[str, Any], odd: str) -> None:
    """Of the order, its parts, and each of its items, whatever a text holds."""
    order = decode_order(json.encode({**document, "shardkey": odd}))
    assert isinstance(order, Order)
    prepared = prepare(order)

    (row,) = read_rows(prepared.order_row, ORDER_ROW)
    items = read_rows(prepared.item_rows, TABLES["order_items"])

    assert row.pop("content_digest") == digest(render_content(order))
    parts = (("", order), ("delivery_", order.delivery), ("payment_", order.payment))
    assert row == {
        "payment_dt" if name == "payment_dt" else prefix + name: getattr(part, name)
        for prefix, part in parts
        for name in part.__struct_fields__
        if name not in {"delivery", "payment", "items"}
    }
    assert items == [
        {"order_uid": order.order_uid, "position": position}
        | {name: getattr(item, name) for name in Item.__struct_fields__}
        for position, item in enumerate(order.items)
    ]
