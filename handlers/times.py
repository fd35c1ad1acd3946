"""Parses RFC 3339 times strictly."""

import re
from datetime import UTC, datetime

from handlers.model import UtcTime

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:[0-5]\d)", re.ASCII)
_is_usual = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\dZ", re.ASCII).fullmatch
TIME_RULE = "must be an RFC 3339 time with a zone, such as 2026-01-31T12:00:00Z"


def parse_time(value: object) -> datetime:
    """Return an RFC 3339 time (section 5.6, with a zone) in UTC. Digits after the microseconds are cut off.

    Raises `ValueError` with a text that says what is allowed. Leap seconds (`:60`) are refused, because PostgreSQL
    cannot store them.
    """
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError(TIME_RULE)
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(TIME_RULE) from None


def utc_time(value: object) -> UtcTime:
    """Return an RFC 3339 time as the text that JSON has. Raises as `parse_time`."""
    return render_utc(parse_time(value))


def quick_utc_time(value: str) -> UtcTime:
    """Return the same as `utc_time`. It is faster if the value is such a text already, in whole seconds."""
    if not _is_usual(value):
        return utc_time(value)
    datetime.fromisoformat(value)  # there may be no such day
    return UtcTime(value)


def render_utc(moment: datetime) -> UtcTime:
    """Return a time, which must have a zone, as the text that JSON has."""
    return UtcTime(moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z")
