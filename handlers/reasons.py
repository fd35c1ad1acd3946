"""The reasons for which a message becomes a dead letter, as they stand in headers, filters and metrics."""

EMPTY_MESSAGE = "empty_message"
INVALID_JSON = "invalid_json"
INVALID_ORDER = "invalid_order"
