"""Parses times that people type: an RFC 3339 time, or an age such as `15m`."""

import re
from datetime import datetime, timedelta

from handlers.times import parse_time

_AGO = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
MOMENT_RULE = "an RFC 3339 time such as 2026-01-31T12:00:00Z, or how long ago: 90s, 15m, 1h, 2d, 1w"


def parse_moment(text: str, now: datetime) -> datetime:
    """Return the time that `text` describes, in UTC. Raises `ValueError` with a text that says what is allowed."""
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return parse_time(text)
    except (ValueError, OverflowError):
        raise ValueError(f"must be {MOMENT_RULE}") from None
