"""The opaque cursor with which a caller asks for the next page of a list."""

import base64
import re
from datetime import UTC, datetime, timedelta

from handlers.model import MAX_KEY_BYTES
from handlers.summaries import OrderCursor

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PLAIN = re.compile(rb"(-?\d{1,18}):(.+)", re.DOTALL)


def to_microseconds(moment: datetime) -> int:
    """Return an instant as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the instant at this number of microseconds since 1970. Raises `OverflowError`."""
    return _EPOCH + microseconds * _MICROSECOND


def render_cursor(place: OrderCursor) -> str:
    """Return the cursor as text of letters, digits, `-` and `_`."""
    plain = f"{to_microseconds(place.date_created)}:{place.order_uid}".encode()
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


def parse_cursor(text: str) -> OrderCursor | None:
    """Return the cursor that `render_cursor` wrote as this text, or None if the text is not a cursor."""
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        parts = _PLAIN.fullmatch(plain)
        if parts is None or b"\x00" in plain or len(parts[2]) > MAX_KEY_BYTES:
            return None
        place = OrderCursor(from_microseconds(int(parts[1])), parts[2].decode())
    except (ValueError, OverflowError):
        return None
    return place if render_cursor(place) == text else None
