"""The fields of an order and their columns, derived from `handlers.model`.

Rows, queries and checks are generated from these tables. `handlers.model` lists what a new field needs.
"""

from typing import Annotated, Any, get_args, get_origin

import attrs
from msgspec import Meta, Struct
from msgspec.structs import fields

from handlers.model import INT4_MAX, INT8_MAX, Order, UtcTime


@attrs.frozen
class Kind:
    """A type of PostgreSQL. `postgres` is its name in `information_schema`."""

    postgres: str


TEXT = Kind("text")
INT4 = Kind("integer")
INT8 = Kind("bigint")
TIME = Kind("timestamp with time zone")
UUID = Kind("uuid")
DIGEST = Kind("bytea")
_KIND_OF: dict[tuple[type, float | None], Kind] = {
    (str, None): TEXT,
    (int, INT4_MAX): INT4,
    (int, INT8_MAX): INT8,
    (UtcTime, None): TIME,
}
"""The kind by a field's type and upper bound."""


@attrs.frozen
class Column:
    """A column. `value` is the Python expression of its value: `order.entry`, `delivery.city`, `item.rid`.

    `extra` is the `extra` of the field's annotation in the model.
    """

    name: str
    kind: Kind
    value: str = ""
    extra: dict[str, Any] = attrs.field(factory=dict)

    @property
    def field(self) -> str:
        """The name of the field in JSON."""
        return self.value.rpartition(".")[2]


@attrs.frozen
class Part:
    """A field that is an object, stored in the row of the order. If `several`, a list of objects with one row each."""

    field: str
    columns: list[Column]
    several: bool


def unwrapped(annotation: Any) -> tuple[Any, Meta]:
    """Return a field's type and its rules, the two parts of an `Annotated`."""
    return get_args(annotation)[:2] if get_origin(annotation) is Annotated else (annotation, Meta())


def _field(name: str, annotation: Any) -> Column | Part:
    kind, _ = unwrapped(annotation)
    if get_origin(kind) is list:
        return Part(name, _columns(get_args(kind)[0], "item"), several=True)
    if isinstance(kind, type) and issubclass(kind, Struct):
        return Part(name, _columns(kind, name, f"{name}_"), several=False)
    return _column(name, annotation, "order")


def _columns(struct: type[Struct], holder: str, prefix: str = "") -> list[Column]:
    return [_column(field.name, field.type, holder, prefix) for field in fields(struct)]


def _column(name: str, annotation: Any, holder: str, prefix: str = "") -> Column:
    """Return a field's column. The prefix is added to its name, unless the name already begins with it."""
    kind, meta = unwrapped(annotation)
    if (kind, meta.le) not in _KIND_OF:
        raise TypeError(f"no column kind is defined for the type and the bounds of {holder}.{name}")
    column = name if name.startswith(prefix) else f"{prefix}{name}"
    return Column(column, _KIND_OF[kind, meta.le], f"{holder}.{name}", meta.extra or {})


FIELDS = [_field(field.name, field.type) for field in fields(Order)]
"""All fields of an order, in the order and the nesting of its JSON."""
_OWN = [field for field in FIELDS if isinstance(field, Column)]
_PARTS = [field for field in FIELDS if isinstance(field, Part)]
_OF_PARTS = [column for part in _PARTS if not part.several for column in part.columns]
_OF_ITEMS = [column for part in _PARTS if part.several for column in part.columns]

ORDER_ROW = [*_OWN, *_OF_PARTS, Column("content_digest", DIGEST)]
"""The columns of `orders` that come from the order itself, the digest last."""
STORED_WITH = [
    Column("source_topic", TEXT),
    Column("source_partition", INT4),
    Column("source_epoch", INT4),
    Column("source_offset", INT8),
    Column("produced_at", TIME),
    Column("batch_id", UUID),
    Column("created_at", TIME),
    Column("updated_at", TIME),
    Column("traceparent", TEXT),
]
"""The columns of `orders` that the writer adds."""
ITEM_ROW = [Column("position", INT4, "position"), *_OF_ITEMS]
"""The columns of `order_items` after `order_uid`."""
TABLES = {"orders": [*ORDER_ROW, *STORED_WITH], "order_items": [Column("order_uid", TEXT), *ITEM_ROW]}
"""All columns of the tables of orders, in the order in which COPY writes them."""


def compiled(parameters: str, expression: str, **names: Any) -> Any:
    """Return a function that evaluates an expression. The expression was generated from these tables.

    Generated code reads an attribute twice as fast as `getattr` with its name.
    """
    return eval(f"lambda {parameters}: {expression}", names)
