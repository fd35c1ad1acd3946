"""The reasons why a message becomes a dead letter. Headers, filters and metrics use these values."""

from engine.verdict import REFUSED_BY_DATABASE

EMPTY_MESSAGE = "empty_message"
INVALID_JSON = "invalid_json"
INVALID_ORDER = "invalid_order"
REASONS = (EMPTY_MESSAGE, INVALID_JSON, INVALID_ORDER, REFUSED_BY_DATABASE)
"""All reasons."""
