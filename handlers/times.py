"""Parses RFC 3339 times strictly."""

import re
from datetime import UTC, datetime

from handlers.json_document import kind_of
from handlers.model import UtcTime

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:[0-5]\d)", re.ASCII)
_is_usual = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\dZ", re.ASCII).fullmatch
_DATE, _TIME, _ZONE = r"\d{4}-\d\d-\d\d", r"\d\d:\d\d:\d\d(?:\.\d+)?", r"(?:[Zz]|[+-]\d\d:\d\d)"
_MISTAKES = tuple(
    (re.compile(pattern, re.ASCII), words)
    for pattern, words in (
        (rf"{_DATE}[Tt ]{_TIME}", "the zone is missing"),
        (_DATE, "the time of day is missing"),
        (rf"{_DATE}[Tt ]\d\d:\d\d{_ZONE}?", "the seconds are missing"),
        (rf"{_DATE} {_TIME}{_ZONE}", "a T must stand before the time of day"),
        (rf"{_DATE}[Tt ]{_TIME}[+-]\d\d(?:\d\d)?", "a zone is written as Z or as +03:00"),
        (r"-?\d+(?:\.\d+)?", "it is a number"),
    )
)
"""Texts that are nearly right, and what is wrong with them."""
_TOO_FAR = "it is outside the years 1 to 9999 in UTC"
TIME_RULE = "must be an RFC 3339 time with a zone, such as 2026-01-31T12:00:00Z"


def parse_time(value: object) -> datetime:
    """Return an RFC 3339 time (section 5.6, with a zone) in UTC. Digits after the microseconds are cut off.

    Raises `ValueError` with a text that says what is allowed. Leap seconds (`:60`) are refused, because PostgreSQL
    cannot store them.
    """
    if not isinstance(value, str):
        raise ValueError(f"{TIME_RULE}, not {kind_of(value)}")
    if not _RFC_3339.fullmatch(value):
        raise ValueError(TIME_RULE + _mistake(value))
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{TIME_RULE}: {_TOO_FAR}") from None
    except ValueError:
        raise ValueError(f"{TIME_RULE}: {_TOO_FAR if value.startswith('0000') else 'there is no such time'}") from None


def _mistake(text: str) -> str:
    """Return the usual mistake that a text makes, or nothing."""
    if not text.strip():
        return ": it is blank"
    return next((f": {words}" for pattern, words in _MISTAKES if pattern.fullmatch(text)), "")


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
