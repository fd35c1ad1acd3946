"""What a search may ask for, and the cursor that leads from page to page."""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lookup.orders.search_query import parse_search
from lookup.serving.cursor import parse_cursor, render_cursor
from lookup.serving.query_parameters import WrongParameter

from handlers.summaries import OrderCursor, Search

PLACE = OrderCursor(datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC), "b563feb7b2b84b6test")
keys = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=128)


def refused(raw_query: str) -> WrongParameter:
    with pytest.raises(WrongParameter) as raised:
        parse_search(raw_query)
    return raised.value


def test_nothing_asked_for_is_the_newest_orders() -> None:
    """Twenty of them."""
    assert parse_search("") == Search(limit=20)
    assert parse_search("&&") == Search(limit=20)


def test_everything_asked_for_is_read() -> None:
    """In any order of the parameters, whose names may be encoded too."""
    search = parse_search(f"before={render_cursor(PLACE)}&limit=100&customer%5Fid=c&track_number=t")
    assert search == Search(track_number="t", customer_id="c", before=PLACE, limit=100)


@given(wanted=keys, encode=st.sampled_from([quote, quote_plus]))
def test_any_key_can_be_asked_for(wanted: str, encode: type[str]) -> None:
    """However a client encodes it."""
    assert parse_search(f"customer_id={encode(wanted)}").customer_id == wanted


def test_bytes_on_the_wire_that_nobody_encoded_are_read_too() -> None:
    """As aiohttp hands them over."""
    assert parse_search("customer_id=заказчик").customer_id == "заказчик"
    assert refused("customer_id=\udcff").parameter == "customer_id"


@pytest.mark.parametrize("name", ["track_number", "customer_id"])
@pytest.mark.parametrize("value", ["", "%00", "a%00b", "%FF", "%ED%A0%80", "a" * 513, "%D0%B6" * 257])
def test_a_key_that_no_order_can_have_is_refused(name: str, value: str) -> None:
    """The refusal names the parameter and the bounds."""
    wrong = refused(f"{name}={value}")
    assert wrong.parameter == name
    assert "1 to 512 bytes" in wrong.allowed


@pytest.mark.parametrize("value", ["a" * 512, "%D0%B6" * 256, "%20", "' OR 1=1 --".replace(" ", "+")])
def test_a_key_at_the_bounds_is_taken(value: str) -> None:
    """512 bytes, blanks and quotes are as good as any."""
    assert parse_search(f"track_number={value}").track_number


@pytest.mark.parametrize("value", ["", "0", "101", "-1", "+1", "1.0", "1e1", "ten", "٣", "²", "9" * 5000, "%00", "%FF"])
def test_a_limit_is_a_whole_number_from_1_to_100(value: str) -> None:
    """Anything else is refused, in any script and of any length."""
    wrong = refused(f"limit={value}")
    assert (wrong.parameter, wrong.allowed) == ("limit", "a whole number from 1 to 100")


def test_orders_dated_in_the_future_are_asked_for_by_name() -> None:
    """There is one such name."""
    assert parse_search("dated=future") == Search(future=True, limit=20)
    assert [refused(f"dated={value}").parameter for value in ("", "past", "Future")] == ["dated"] * 3


@pytest.mark.parametrize("value", ["1", "100", "020"])
def test_a_limit_within_the_bounds_is_taken(value: str) -> None:
    assert parse_search(f"limit={value}").limit == int(value)


def test_a_parameter_comes_once() -> None:
    """Two values would be two searches."""
    wrong = refused("customer_id=a&customer_id=a")
    assert (wrong.parameter, wrong.allowed) == ("customer_id", "at most once")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("custmer_id=a", "custmer_id"),
        ("Limit=1", "Limit"),
        ("=1", "?"),
        ("a@b.example=1", "?"),
        ("x" * 65, "?"),
        ("%FF=1", "?"),
    ],
)
def test_a_mistyped_parameter_is_not_taken_for_none(query: str, shown: str) -> None:
    """It would be answered with the orders of everybody. What may be somebody's address is not repeated."""
    wrong = refused(query)
    assert wrong.parameter == shown
    assert wrong.allowed == "only these parameters: track_number, customer_id, dated, limit, before"


@given(st.datetimes(timezones=st.just(UTC)), keys)
def test_a_cursor_leads_back_to_its_place(date_created: datetime, order_uid: str) -> None:
    """To the microsecond, over all the years there are, and needs no encoding in an address."""
    place = OrderCursor(date_created, order_uid)
    cursor = render_cursor(place)
    assert parse_cursor(cursor) == place
    assert quote(cursor, safe="") == cursor


@given(st.text(max_size=40))
def test_what_is_no_cursor_is_none(text: str) -> None:
    """No text makes it raise, and only what it would have written itself is taken."""
    place = parse_cursor(text)
    assert place is None or render_cursor(place) == text


@pytest.mark.parametrize(
    "plain", [b"1:", b":uid", b"1", b"01:uid", b"+1:uid", b"1:\x00", b"1:\xff", b"9" * 18 + b":uid", b"1:" + b"a" * 513]
)
def test_a_cursor_that_somebody_made_up_is_none(plain: bytes) -> None:
    """Dates beyond the calendar, other spellings, and uids that no order can have."""
    assert parse_cursor(urlsafe_b64encode(plain).rstrip(b"=").decode()) is None


def test_a_cursor_is_refused_by_its_name() -> None:
    """Also one that lost its end on the way."""
    for text in ("", "x", render_cursor(PLACE)[:-1], render_cursor(PLACE) + "=", "%FF"):
        wrong = refused(f"before={text}")
        assert (wrong.parameter, wrong.allowed) == ("before", "the `next` of the previous page")
