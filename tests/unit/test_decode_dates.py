"""From bytes to an order: dates."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.times import render_utc
from tests.support.bad_messages import (
    order_with,
)
from tests.support.decoding import (
    BAD_DATES,
    DATES,
    accepted,
    the_error,
)


@pytest.mark.parametrize("text", DATES)
def test_a_date_is_kept_in_utc_to_the_microsecond(text: str) -> None:
    """Zones are converted, finer digits are cut and not rounded."""
    assert accepted(order_with(("date_created", text))).date_created == render_utc(DATES[text])


RULE = "must be an RFC 3339 time with a zone, such as 2026-01-31T12:00:00Z"
NO_SUCH = ": there is no such time"
TOO_FAR = ": it is outside the years 1 to 9999 in UTC"
ZONE = ": a zone is written as Z or as +03:00"
MISTAKES = {
    "no zone": ": the zone is missing",
    "no zone, but a fraction": ": the zone is missing",
    "a date alone": ": the time of day is missing",
    "no seconds": ": the seconds are missing",
    "a blank for a T": ": a T must stand before the time of day",
    "a zone without a colon": ZONE,
    "a zone of hours": ZONE,
    "a zone of 24 hours": NO_SUCH,
    "a leap second": NO_SUCH,
    "hour 24": NO_SUCH,
    "minute 60": NO_SUCH,
    "month 13": NO_SUCH,
    "February 30": NO_SUCH,
    "February 29 of a common year": NO_SUCH,
    "year 0": TOO_FAR,
    "before year 1 in UTC": TOO_FAR,
    "after year 9999 in UTC": TOO_FAR,
    "nothing": ": it is blank",
    "a number": ", not a number",
    "a number as text": ": it is a number",
    "a boolean": ", not true or false",
    "an object": ", not an object",
}
"""What is said beside the rule, where it can be told."""


@pytest.mark.parametrize("name", BAD_DATES)
def test_what_is_no_rfc_3339_date_with_a_zone_is_refused(name: str) -> None:
    """The message says what one looks like, and the usual mistakes by their names."""
    message = the_error(order_with(("date_created", BAD_DATES[name])), "date_created")
    assert message == RULE + MISTAKES.get(name, "")


@pytest.mark.parametrize("zone", ["+00:60", "+01:99", "-22:61"])
def test_a_zone_has_fewer_than_sixty_minutes(zone: str) -> None:
    """RFC 3339: `time-numoffset = ("+" / "-") time-hour ":" time-minute`, and a minute is 00 to 59."""
    the_error(order_with(("date_created", f"2026-01-31T12:00:00{zone}")), "date_created")


@given(moment=st.datetimes(timezones=st.just(UTC)), digits=st.text("0123456789", max_size=12))
def test_any_instant_comes_back_cut_to_the_microsecond(moment: datetime, digits: str) -> None:
    """Digits behind the sixth never change the ones before."""
    text = moment.replace(tzinfo=None).isoformat(timespec="microseconds") + digits + "Z"
    assert accepted(order_with(("date_created", text))).date_created == render_utc(moment)
