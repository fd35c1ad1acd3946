"""Which dead letters a request may mean, and who may do more than read them."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from lookup.letters.query import (
    LetterSearch,
    parse_letter_cursor,
    parse_letter_filters,
    parse_letter_search,
    read_letter_filters,
    render_letter_cursor,
)
from lookup.serving.admin import Admin
from lookup.serving.query_parameters import WrongParameter
from lookup.serving.refusal import Refused

from engine.dead_letters.list import LetterCursor, Selection

PLACE = LetterCursor(datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC), 2, 57)


def test_nothing_asked_for_is_what_is_not_resolved() -> None:
    """Twenty of them."""
    assert parse_letter_search("") == LetterSearch(Selection(), None, 20)


def test_everything_asked_for_is_read() -> None:
    """A time is RFC 3339, or so long ago."""
    search = parse_letter_search(
        "reason=invalid_json&order_uid=u%201&since=2026-01-01T00:00:00Z&until=2026-02-01T00:00:00%2B01:00"
        f"&state=all&limit=100&before={render_letter_cursor(PLACE)}"
    )
    since, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 31, 23, tzinfo=UTC)
    assert search == LetterSearch(Selection(("invalid_json",), ("u 1",), since, until, resolved_too=True), PLACE, 100)
    ago = parse_letter_filters("since=1h").since
    assert ago is not None
    assert timedelta(0) <= datetime.now(UTC) - timedelta(hours=1) - ago < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("query", "parameter", "allowed"),
    [
        ("reason=invalid", "reason", "one of empty_message, invalid_json, invalid_order, refused_by_database"),
        ("order_uid=", "order_uid", "1 to 512 bytes"),
        ("order_uid=%00", "order_uid", "1 to 512 bytes"),
        ("since=yesterday", "since", "an RFC 3339 time such as"),
        ("since=1h&until=2h", "since", "before `until`"),
        ("state=resolved", "state", "unresolved or all"),
        ("limit=0", "limit", "a whole number from 1 to 100"),
        ("before=1", "before", "the `next` of the previous page"),
        ("reason=invalid_json&reason=invalid_json", "reason", "at most once"),
        ("resaon=invalid_json", "resaon", "only these parameters: reason, order_uid, since, until, state"),
    ],
)
def test_what_is_not_allowed_is_named(query: str, parameter: str, allowed: str) -> None:
    """A mistyped filter is not taken for none."""
    with pytest.raises(WrongParameter) as raised:
        parse_letter_search(query)
    assert raised.value.parameter == parameter
    assert raised.value.allowed.startswith(allowed)


def test_the_filters_of_a_body_are_those_of_the_list() -> None:
    """Only what is not resolved is meant."""
    assert read_letter_filters(reason="invalid_json", order_uid=None) == Selection(("invalid_json",))
    with pytest.raises(WrongParameter):
        read_letter_filters(reason="invalid")


@given(
    failed_at=st.datetimes(timezones=st.just(UTC)),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
)
def test_a_cursor_leads_back_to_its_place(failed_at: datetime, partition: int, offset: int) -> None:
    """To the microsecond, and needs no encoding in an address."""
    place = LetterCursor(failed_at, partition, offset)
    cursor = render_letter_cursor(place)
    assert parse_letter_cursor(cursor) == place
    assert quote(cursor, safe="") == cursor


@given(st.one_of(st.text(max_size=40), st.from_regex(r"-?[0-9]{1,20}\.[0-9]{1,12}\.[0-9]{1,20}", fullmatch=True)))
def test_what_is_no_cursor_is_none(text: str) -> None:
    """No text makes it raise, and only what it would have written itself is taken."""
    place = parse_letter_cursor(text)
    assert place is None or render_letter_cursor(place) == text


def refusal(token: str, **headers: str) -> tuple[str, int] | None:
    try:
        Admin(token).check(make_mocked_request("GET", "/", headers))
    except Refused as refused:
        answer = refused
    else:
        return None
    assert (answer.status == 401) == ("WWW-Authenticate" in (answer.headers or {}))
    return answer.code, answer.status


@pytest.mark.parametrize("token", ["secret", "ключ", "with blanks"])
def test_whoever_presents_the_token_may(token: str) -> None:
    """The scheme is written as anybody likes."""
    assert refusal(token, Authorization=f"Bearer {token}") is None
    assert refusal(token, Authorization=f"bearer  {token} ") is None


@pytest.mark.parametrize("presented", [None, "", "secret", "Basic secret", "Bearer", "Bearer secre", "Bearer Secret"])
def test_nobody_else_may(presented: str | None) -> None:
    """Without a token, with another one, or in another scheme."""
    headers = {} if presented is None else {"Authorization": presented}
    assert refusal("secret", **headers) == ("unauthorized", 401)


def test_without_a_token_of_the_server_nobody_may() -> None:
    """An empty token is not one that an empty header presents."""
    assert refusal("", Authorization="Bearer ") == ("read_only", 403)
    assert refusal("") == ("read_only", 403)
