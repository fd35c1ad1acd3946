"""A body holds an order in the contract's order of fields, and ends with its own version."""

import json
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from handlers.body import (
    DIGEST_BYTES,
    VERSION_WIDTH,
    body_belongs_to,
    body_end,
    digest,
    finish_body,
    render_body,
    render_content,
    render_time,
)
from handlers.decode import decode_order
from handlers.model import Order
from handlers.times import render_utc
from orderflow.publishing.orders import OrderGenerator

ORDER_FIELDS = (
    "order_uid track_number entry delivery payment items locale internal_signature customer_id delivery_service "
    "shardkey sm_id date_created oof_shard created_at updated_at"
)
DELIVERY_FIELDS = "name phone zip city address region email"
PAYMENT_FIELDS = "transaction request_id currency provider amount payment_dt bank delivery_cost goods_total custom_fee"
ITEM_FIELDS = "chrt_id track_number price rid name sale size total_price nm_id brand status"
CREATED_AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
UPDATED_AT = CREATED_AT + timedelta(days=1)

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
key = text.filter(str.strip)
moments = st.datetimes(
    min_value=datetime(2, 1, 1),
    max_value=datetime(9998, 12, 31),
    timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


def orders() -> list[Order]:
    made = [decode_order(json.dumps(document).encode()) for document in islice(OrderGenerator(1), 20)]
    return [order for order in made if isinstance(order, Order)]


ORDERS = orders()
ORDER = ORDERS[0]


def body_of(order: Order) -> bytes:
    return render_body(order, CREATED_AT, UPDATED_AT)


def names(part: dict[str, Any]) -> str:
    return " ".join(part)


def test_the_fields_stand_in_the_contracts_order() -> None:
    """On every level, and the two timestamps come last."""
    order = next(order for order in ORDERS if len(order.items) > 1)
    body = json.loads(body_of(order))
    assert names(body) == ORDER_FIELDS
    assert names(body["delivery"]) == DELIVERY_FIELDS
    assert names(body["payment"]) == PAYMENT_FIELDS
    assert [names(item) for item in body["items"]] == [ITEM_FIELDS] * len(order.items)


@pytest.mark.parametrize("number", range(20))
def test_a_body_holds_what_was_published(number: int) -> None:
    """Every value, the items in their order; only the two timestamps are added."""
    document = next(islice(OrderGenerator(1), number, None))
    body = json.loads(body_of(ORDERS[number]))
    assert body.pop("created_at") == "2026-01-02T03:04:05.678901Z"
    assert body.pop("updated_at") == "2026-01-03T03:04:05.678901Z"
    assert body == document


@given(uid=key, city=key, email=text, size=key, moment=moments, sm_id=st.integers(-(2**31), 2**31 - 1))
def test_content_comes_back_as_an_equal_order(
    uid: str, city: str, email: str, size: str, moment: datetime, sm_id: int
) -> None:
    """Whatever the texts hold: quotes, backslashes, line separators, any script."""
    order = replace(
        ORDER,
        order_uid=uid,
        delivery=replace(ORDER.delivery, city=city, email=email),
        items=[replace(ORDER.items[0], size=size)],
        date_created=render_utc(moment),
        sm_id=sm_id,
    )
    assert decode_order(render_content(order)) == order
    assert body_belongs_to(body_of(order), uid)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC), "2026-01-02T03:04:05.600000Z"),
        (datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=5))), "2026-01-01T22:00:00Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
    ],
)
def test_date_created_is_answered_in_utc(moment: datetime, expected: str) -> None:
    """Whole seconds have no fraction, and a year has four digits."""
    content = render_content(replace(ORDER, date_created=render_utc(moment)))
    assert json.loads(content)["date_created"] == expected


def test_a_body_is_its_content_with_two_timestamps() -> None:
    """So that content can be rendered before the timestamps are known."""
    content = render_content(ORDER)
    body = finish_body(content, body_end(CREATED_AT, UPDATED_AT))
    assert body == body_of(ORDER)
    assert body.startswith(content[:-1])


@given(moment=moments)
def test_a_time_has_one_width_and_six_fractional_digits(moment: datetime) -> None:
    """Without a fraction too, in any zone, in any year."""
    rendered = render_time(moment)
    assert len(rendered) == len("2026-01-01T00:00:00.000000Z")
    assert rendered.isascii()
    assert datetime.fromisoformat(rendered) == moment


@given(moment=moments)
def test_a_body_ends_with_its_version(moment: datetime) -> None:
    """The last bytes are `updated_at`, in a fixed width, up to the end."""
    body = render_body(ORDER, CREATED_AT, moment)
    assert body[-VERSION_WIDTH:] == f'{render_time(moment)}"}}'.encode()
    assert body[:-VERSION_WIDTH].endswith(b'"updated_at":"')


@given(first=moments, second=moments)
def test_the_text_order_of_versions_is_the_order_of_time(first: datetime, second: datetime) -> None:
    """A script in Redis compares bytes, and must find the later one the greater one."""
    older, newer = (render_body(ORDER, CREATED_AT, moment)[-VERSION_WIDTH:] for moment in (first, second))
    assert (older < newer) == (first < second)
    assert (older == newer) == (first == second)


@given(moment=moments)
def test_the_smallest_step_of_time_makes_a_later_version(moment: datetime) -> None:
    """A change moves `updated_at` by at least a microsecond."""
    later = moment + timedelta(microseconds=1)
    assert (
        render_body(ORDER, CREATED_AT, later)[-VERSION_WIDTH:] > render_body(ORDER, CREATED_AT, moment)[-VERSION_WIDTH:]
    )


def test_equal_content_has_an_equal_digest() -> None:
    """An instant in another zone is the same instant."""
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    elsewhere = moment.astimezone(timezone(timedelta(hours=3)))
    one, other = (render_content(replace(ORDER, date_created=render_utc(at))) for at in (moment, elsewhere))
    assert digest(one) == digest(other)
    assert len(digest(one)) == DIGEST_BYTES


def changes() -> list[Order]:
    item = ORDER.items[0]
    other = {str: "changed", int: 987_654}
    changed = [
        replace(ORDER, **{name: other[type(value)]}) for name, value in asdict(ORDER).items() if type(value) in other
    ]
    for name in ("delivery", "payment"):
        part = getattr(ORDER, name)
        for field, value in asdict(part).items():
            changed.append(replace(ORDER, **{name: replace(part, **{field: other[type(value)]})}))
    for field, value in asdict(item).items():
        changed.append(replace(ORDER, items=[replace(item, **{field: other[type(value)]}), *ORDER.items[1:]]))
    changed.append(replace(ORDER, items=[*ORDER.items, replace(item, rid="one more")]))
    changed.append(replace(ORDER, items=[replace(item, rid="swapped"), item]))
    changed.append(replace(ORDER, items=[item, replace(item, rid="swapped")]))
    return changed


def test_any_change_of_an_order_changes_its_digest() -> None:
    """Every field counts, on every level, and so does the order of the items."""
    versions = [ORDER, *changes()]
    fields = f"{ORDER_FIELDS} {DELIVERY_FIELDS} {PAYMENT_FIELDS} {ITEM_FIELDS}".split()
    assert len(versions) > len(fields) - len(["delivery", "payment", "items", "created_at", "updated_at"])
    assert len({digest(render_content(order)) for order in versions}) == len(versions)


@pytest.mark.parametrize("uid", ["a", "a b", 'a"b', "a\\", "ж", "a/b", "😀", "\u2028", "a'", "\x7f", "</script>"])
def test_a_whole_body_belongs_to_its_order_alone(uid: str) -> None:
    """Not to an order whose uid begins alike, ends alike, or looks alike."""
    body = body_of(replace(ORDER, order_uid=uid))
    assert body_belongs_to(body, uid)
    for other in ("", uid[:-1], f"{uid}x", f"{uid},", f'{uid}"', f"x{uid}", f"{uid} ", uid * 2, uid.upper() + "!"):
        assert not body_belongs_to(body, other)


def test_a_uid_cannot_be_made_to_look_like_another() -> None:
    """What a uid holds is escaped, so that its end is its end."""
    body = body_of(replace(ORDER, order_uid='a","track_number":"x'))
    assert not body_belongs_to(body, "a")


def test_a_body_that_was_cut_is_nobodys() -> None:
    """Wherever it was cut, from either side."""
    body = body_of(ORDER)
    for at in range(len(body)):
        assert not body_belongs_to(body[:at], ORDER.order_uid)
        assert at == 0 or not body_belongs_to(body[at:], ORDER.order_uid)


def test_a_body_that_was_cut_after_an_email_is_nobodys() -> None:
    """An address that ends with a Z makes a part look like the end."""
    order = replace(ORDER, delivery=replace(ORDER.delivery, email="someone@example.XYZ"))
    body = body_of(order)
    assert not any(body_belongs_to(body[:at], order.order_uid) for at in range(len(body)))


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{}", b"null", b'Z"}', b'{"error":"order_not_found"}', b"\x00" * 300, b'{"order_uid":"'],
)
def test_other_bytes_are_nobodys(damaged: bytes) -> None:
    """Whatever was put there by mistake is a miss."""
    assert not body_belongs_to(damaged, ORDER.order_uid)
    assert not body_belongs_to(damaged, "")


def test_something_behind_a_body_makes_it_nobodys() -> None:
    """Two bodies are not one."""
    assert not body_belongs_to(body_of(ORDER) + b"\n", ORDER.order_uid)
    assert not body_belongs_to(body_of(ORDER)[:-1], ORDER.order_uid)
