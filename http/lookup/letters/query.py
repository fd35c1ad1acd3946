"""Reads which dead letters are meant, and the cursor that leads from page to page of their list."""

import re
from datetime import UTC, datetime
from typing import Any

import attrs

from engine.dead_letters.list import LetterCursor, Selection, parse_place
from handlers.moments import MOMENT_RULE, parse_moment
from handlers.reasons import REASONS
from lookup.serving.cursor import from_microseconds, to_microseconds
from lookup.serving.query_parameters import (
    KEY_RULE,
    Parameters,
    WrongParameter,
    number_up_to,
    parse_key,
    parse_parameter,
    parse_parameters,
)

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
REASON_RULE = f"one of {', '.join(REASONS)}"
_UNRESOLVED, _ALL = "unresolved", "all"
_CURSOR = re.compile(r"(-?\d{1,18})\.(\d{1,10})\.(\d{1,19})", re.ASCII)


@attrs.frozen
class LetterSearch:
    """A page of a list: which letters, where it begins, and how many it holds at most."""

    selection: Selection
    before: LetterCursor | None
    limit: int


def parse_letter_search(raw_query: str) -> LetterSearch:
    """Return what the query of a list asks for. Raises `WrongParameter`."""
    found = parse_parameters(raw_query, _LIST)
    return LetterSearch(_selection(found), found.get("before"), found.get("limit", DEFAULT_LIMIT))


def parse_letter_filters(raw_query: str) -> Selection:
    """Return which letters the query of a count means. Raises `WrongParameter`."""
    return _selection(parse_parameters(raw_query, _COUNT))


def read_letter_filters(**filters: str | None) -> Selection:
    """Return which letters the filters of a body mean; only those that are not resolved. Raises `WrongParameter`."""
    given = {name: text for name, text in filters.items() if text is not None}
    return _selection({name: parse_parameter(name, text, _FILTERS) for name, text in given.items()})


def render_letter_cursor(place: LetterCursor) -> str:
    """Return the place as digits and full stops."""
    return f"{to_microseconds(place.failed_at)}.{place.partition}.{place.offset}"


def parse_letter_cursor(text: str | None) -> LetterCursor | None:
    """Return the place that `render_letter_cursor` made this text of, or None when it made no such text."""
    parts = _CURSOR.fullmatch(text or "")
    if parts is None:
        return None
    try:
        partition, offset = parse_place(f"{parts[2]}:{parts[3]}")
        place = LetterCursor(from_microseconds(int(parts[1])), partition, offset)
    except (ValueError, OverflowError):
        return None
    return place if render_letter_cursor(place) == text else None


def _selection(found: dict[str, Any]) -> Selection:
    since, until = found.get("since"), found.get("until")
    if since and until and since >= until:
        raise WrongParameter("since", "before `until`")
    return Selection(
        reasons=(found["reason"],) if "reason" in found else (),
        uids=(found["order_uid"],) if "order_uid" in found else (),
        since=since,
        until=until,
        resolved_too=found.get("state") == _ALL,
    )


def _moment(text: str | None) -> datetime | None:
    try:
        return parse_moment(text or "", datetime.now(UTC))
    except ValueError:
        return None


_FILTERS: Parameters = {
    "reason": (lambda text: text if text in REASONS else None, REASON_RULE),
    "order_uid": (parse_key, KEY_RULE),
    "since": (_moment, MOMENT_RULE),
    "until": (_moment, MOMENT_RULE),
}
_COUNT: Parameters = {
    **_FILTERS,
    "state": (lambda text: text if text in {_UNRESOLVED, _ALL} else None, f"{_UNRESOLVED} or {_ALL}"),
}
_LIST: Parameters = {
    **_COUNT,
    "limit": (number_up_to(MAX_LIMIT), f"a whole number from 1 to {MAX_LIMIT}"),
    "before": (parse_letter_cursor, "the `next` of an earlier answer"),
}
