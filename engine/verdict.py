"""How a handler rejects a message. Bad data is a return value, never an exception."""

import attrs


@attrs.frozen
class FieldError:
    """One error: the path of a field, such as `items[0].price`, and what is allowed there. Never the value itself."""

    path: str
    message: str


@attrs.frozen
class Rejected:
    """Why a message became a dead letter.

    `reason` is a short word for filters and headers. `errors` has an entry for every invalid field. `subject`
    identifies what the message is about (for example the uid of an order), if it could be read.
    """

    reason: str
    errors: tuple[FieldError, ...] = ()
    subject: str | None = None


REFUSED_BY_DATABASE = "refused_by_database"
"""The reason for a message that was valid for the handler but was refused by PostgreSQL."""
