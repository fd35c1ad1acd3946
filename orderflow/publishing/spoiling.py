"""Makes invalid messages from valid orders, with typical mistakes of producers. Each way makes one mistake."""

from collections.abc import Callable
from copy import deepcopy
from functools import wraps
from random import Random

from msgspec import json

from orderflow.publishing.orders import Document

Way = Callable[[Document, Random], bytes | None]
"""Makes the value of an invalid message from a valid order, which is not changed. None: a message without a value."""

_TEXTS = ("order_uid", "track_number", "entry", "locale", "customer_id")
_REQUIRED = (*_TEXTS, "delivery", "payment", "items", "date_created")
_RECIPIENT_TEXTS = ("name", "phone", "city", "address")
_AMOUNTS = ("amount", "delivery_cost", "goods_total", "custom_fee")
_BAD_DATES = ("", "yesterday", "2026-02-30T10:00:00Z", "2026-01-01T10:00:00", "01.02.2026 10:00", 1767225600)
_TOO_LONG = 513
_INT4_OVERFLOW = 2**31


def _edit(edit: Callable[[Document, Random], None]) -> Way:
    @wraps(edit)
    def way(order: Document, random: Random) -> bytes:
        copy = deepcopy(order)
        edit(copy, random)
        return json.encode(copy)

    return way


def _bare(order: Document, _random: Random) -> bytes:
    return f"order {order['order_uid']}".encode()


def _truncated(order: Document, random: Random) -> bytes:
    whole = json.encode(order)
    return whole[: random.randrange(1, len(whole))]


def _wrapped(order: Document, _random: Random) -> bytes:
    return json.encode([order])


def _latin1(order: Document, _random: Random) -> bytes:
    return json.encode(order).replace(b'"entry":"', b'"entry":"\xe9', 1)


def _nothing(_order: Document, random: Random) -> bytes | None:
    return random.choice((None, b"", b"null", b"{}"))


@_edit
def _missing_field(order: Document, random: Random) -> None:
    del order[random.choice(_REQUIRED)]


@_edit
def _missing_part_field(order: Document, random: Random) -> None:
    part, field = random.choice((("delivery", "phone"), ("payment", "currency"), ("payment", "amount")))
    del order[part][field]


@_edit
def _number_as_text(order: Document, random: Random) -> None:
    field = random.choice(_AMOUNTS)
    order["payment"][field] = str(order["payment"][field])


@_edit
def _number_as_fraction(order: Document, _random: Random) -> None:
    order["items"][0]["price"] += 0.5


@_edit
def _number_as_flag(order: Document, _random: Random) -> None:
    order["items"][-1]["status"] = True


@_edit
def _text_as_number(order: Document, random: Random) -> None:
    order[random.choice(_TEXTS)] = random.randrange(10**6)


@_edit
def _negative_price(order: Document, random: Random) -> None:
    random.choice(order["items"])["price"] = -random.randint(1, 5000)


@_edit
def _wrong_amount(order: Document, random: Random) -> None:
    order["payment"]["amount"] += random.randint(1, 100)


@_edit
def _too_large(order: Document, _random: Random) -> None:
    order["sm_id"] = _INT4_OVERFLOW


@_edit
def _zero_id(order: Document, random: Random) -> None:
    random.choice(order["items"])[random.choice(("chrt_id", "nm_id"))] = 0


@_edit
def _blank_text(order: Document, random: Random) -> None:
    order[random.choice(_TEXTS)] = random.choice(("", " ", "\t\n"))


@_edit
def _blank_recipient(order: Document, random: Random) -> None:
    order["delivery"][random.choice(_RECIPIENT_TEXTS)] = "  "


@_edit
def _null(order: Document, random: Random) -> None:
    order[random.choice((*_REQUIRED, "internal_signature", "sm_id"))] = None


@_edit
def _nul(order: Document, random: Random) -> None:
    order["delivery"][random.choice(_RECIPIENT_TEXTS)] += "\x00"


@_edit
def _duplicate_rid(order: Document, _random: Random) -> None:
    order["items"].append(dict(order["items"][0]))


@_edit
def _no_items(order: Document, _random: Random) -> None:
    order["items"] = []


@_edit
def _long_uid(order: Document, _random: Random) -> None:
    order["order_uid"] = order["order_uid"].ljust(_TOO_LONG, "x")


@_edit
def _bad_date(order: Document, random: Random) -> None:
    order["date_created"] = random.choice(_BAD_DATES)


WAYS: tuple[Way, ...] = (
    _bare,
    _truncated,
    _wrapped,
    _latin1,
    _nothing,
    _missing_field,
    _missing_part_field,
    _number_as_text,
    _number_as_fraction,
    _number_as_flag,
    _text_as_number,
    _negative_price,
    _wrong_amount,
    _too_large,
    _zero_id,
    _blank_text,
    _blank_recipient,
    _null,
    _nul,
    _duplicate_rid,
    _no_items,
    _long_uid,
    _bad_date,
)


def spoil(order: Document, random: Random) -> bytes | None:
    """Return the value of an invalid message, made from a valid order by one of `WAYS`."""
    return random.choice(WAYS)(order, random)
