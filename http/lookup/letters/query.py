"""Parses the filters of dead letters, and the cursor of their list's pages."""

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
    """A request for one page: which letters, where the page begins, and how many letters it holds at most."""

    selection: Selection
    before: LetterCursor | None
    limit: int


def parse_letter_search(raw_query: str) -> LetterSearch:
    """Parse the query string of a list. Raises `WrongParameter`."""
    parameters = parse_parameters(raw_query, _LIST)
    return LetterSearch(_selection(parameters), parameters.get("before"), parameters.get("limit", DEFAULT_LIMIT))


def parse_letter_filters(raw_query: str) -> Selection:
    """Parse the query string of a count. Raises `WrongParameter`."""
    return _selection(parse_parameters(raw_query, _COUNT))


def read_letter_filters(**filters: str | None) -> Selection:
    """Parse the filters of a request body; they select only unresolved letters. Raises `WrongParameter`."""
    given = {name: text for name, text in filters.items() if text is not None}
    return _selection({name: parse_parameter(name, text, _FILTERS) for name, text in given.items()})


def render_letter_cursor(place: LetterCursor) -> str:
    """Return the cursor as text of digits and full stops."""
    return f"{to_microseconds(place.failed_at)}.{place.partition}.{place.offset}"


def parse_letter_cursor(text: str | None) -> LetterCursor | None:
    """Return the cursor that `render_letter_cursor` wrote as this text, or None if the text is not a cursor."""
    parts = _CURSOR.fullmatch(text or "")
    if parts is None:
        return None
    try:
        partition, offset = parse_place(f"{parts[2]}:{parts[3]}")
        place = LetterCursor(from_microseconds(int(parts[1])), partition, offset)
    except (ValueError, OverflowError):
        return None
    return place if render_letter_cursor(place) == text else None


def _selection(parameters: dict[str, Any]) -> Selection:
    since, until = parameters.get("since"), parameters.get("until")
    if since and until and since >= until:
        raise WrongParameter("since", "before `until`")
    return Selection(
        reasons=(parameters["reason"],) if "reason" in parameters else (),
        uids=(parameters["order_uid"],) if "order_uid" in parameters else (),
        since=since,
        until=until,
        resolved_too=parameters.get("state") == _ALL,
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
    "before": (parse_letter_cursor, "the `next` of the previous page"),
}
