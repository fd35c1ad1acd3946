"""Parses RFC 3339 times strictly."""

import re

from handlers.model import UtcTime

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:[0-5]\d)", re.ASCII)
TIME_RULE = "must be an RFC 3339 time with a zone, such as 2026-01-31T12:00:00Z"


def parse_time(value: object) -> UtcTime:
    """Return an RFC 3339 time (section 5.6, with a zone) in UTC. Digits after the microseconds are cut off.

    Raises `ValueError` with a text that says what is allowed. Leap seconds (`:60`) are refused, because PostgreSQL
    cannot store them.
    """
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError(TIME_RULE)
    try:
        return UtcTime.of(UtcTime.fromisoformat(value.upper()))
    except (ValueError, OverflowError):
        raise ValueError(TIME_RULE) from None
