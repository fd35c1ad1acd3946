"""The reasons for which a message becomes a dead letter, as they stand in headers, filters and metrics."""

from engine.verdict import REFUSED_BY_DATABASE

EMPTY_MESSAGE = "empty_message"
INVALID_JSON = "invalid_json"
INVALID_ORDER = "invalid_order"
REASONS = (EMPTY_MESSAGE, INVALID_JSON, INVALID_ORDER, REFUSED_BY_DATABASE)
"""All of them."""
