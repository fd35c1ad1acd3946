"""The JSON body of an order: the bytes that Redis stores and HTTP returns.

A body ends with `updated_at`, which has a fixed width. This is the version of the body: a script in Redis can compare
the versions of two bodies without parsing them.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b

from msgspec import json

from engine.telemetry.trace_context import Traceparent
from handlers.model import Order

VERSION_WIDTH = len('2026-01-01T00:00:00.000000Z"}')
"""The size in bytes of the version at the end of a body: `updated_at`, the closing quote and the closing brace."""
DIGEST_BYTES = 16
BEFORE_VERSION = b'","updated_at":"'


class Bodies(dict[str, bytes]):
    """Bodies by uid. `traces` has the traceparent by uid, for the orders whose message had one."""

    def __init__(
        self,
        bodies: Mapping[str, bytes] | Iterable[tuple[str, bytes]] = (),
        traces: Mapping[str, Traceparent] | None = None,
    ) -> None:
        super().__init__(bodies)
        self.traces = traces or {}


_encode = json.Encoder().encode


def render_time(moment: datetime) -> str:
    """Return a time in UTC as RFC 3339 with exactly six fractional digits, so that text order equals time order."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def version_of(updated_at: datetime) -> bytes:
    """Return the last `VERSION_WIDTH` bytes of a body that was updated at this time."""
    return render_time(updated_at).encode() + b'"}'


def render_content(order: Order) -> bytes:
    """Return the order as a JSON object: `{...}`. The fields have the order that `handlers.model` defines."""
    return _encode(order)


def digest(content: bytes) -> bytes:
    """Return the hash of an order's content, `DIGEST_BYTES` long. It shows whether two contents are equal."""
    return blake2b(content, digest_size=DIGEST_BYTES).digest()


def finish_body(content: bytes, end: bytes) -> bytes:
    """Return the body of an order with this content. `end` is from `body_end`."""
    return content[:-1] + end


def body_end(created_at: datetime, updated_at: datetime) -> bytes:
    """Return what a body has instead of the last brace of its content. Many bodies of a batch have the same end."""
    return f',"created_at":"{render_time(created_at)}","updated_at":"{render_time(updated_at)}"}}'.encode()


def render_body(order: Order, created_at: datetime, updated_at: datetime) -> bytes:
    """Return the complete body of a stored order."""
    return finish_body(render_content(order), body_end(created_at, updated_at))


def body_belongs_to(body: bytes, order_uid: str) -> bool:
    """Return whether cached bytes are a complete body of this order. If not, the lookup counts as a cache miss."""
    return (
        body.startswith(b'{"order_uid":%b,' % _encode(order_uid))
        and body.endswith(b'Z"}')
        and body.endswith(BEFORE_VERSION, 0, -VERSION_WIDTH)
    )
