"""Parses the query string of a search."""

from handlers.summaries import Search
from lookup.serving.cursor import parse_cursor
from lookup.serving.query_parameters import KEY_RULE, Parameters, number_up_to, parse_key, parse_parameters

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
_FUTURE = "future"


def parse_search(raw_query: str) -> Search:
    """Return the search that a percent-encoded query string asks for. Raises `WrongParameter`."""
    parameters = parse_parameters(raw_query, _PARAMETERS)
    return Search(**{"limit": DEFAULT_LIMIT, "future": parameters.pop("dated", None) == _FUTURE, **parameters})


_PARAMETERS: Parameters = {
    "track_number": (parse_key, KEY_RULE),
    "customer_id": (parse_key, KEY_RULE),
    "dated": (lambda text: text if text == _FUTURE else None, f"{_FUTURE}: only orders dated over a day ahead"),
    "limit": (number_up_to(MAX_LIMIT), f"a whole number from 1 to {MAX_LIMIT}"),
    "before": (lambda text: None if text is None else parse_cursor(text), "the `next` of the previous page"),
}
