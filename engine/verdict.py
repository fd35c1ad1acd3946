"""What a handler says of a message that it cannot take. Bad data is a value, never an exception."""

import attrs


@attrs.frozen
class FieldError:
    """One thing that is wrong: a path such as `items[0].price`, and what is allowed there; never the value itself."""

    path: str
    message: str


@attrs.frozen
class Rejected:
    """Why a message became a dead letter.

    `reason` is a short word for filters and headers; `errors` names every field at fault; `subject` is what the
    message is about (an order's uid, say), where it could be read.
    """

    reason: str
    errors: tuple[FieldError, ...] = ()
    subject: str | None = None


REFUSED_BY_DATABASE = "refused_by_database"
"""The reason of a message that only PostgreSQL refused."""
