"""The JSON body of an order: the bytes that Redis holds and HTTP answers with.

It ends with `updated_at` in a fixed width, so that the bytes carry their own version and a script in Redis can compare
two bodies without parsing either.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from msgspec import json

from engine.telemetry.trace_context import Traceparent
from handlers.model import Order, UtcTime

VERSION_WIDTH = len('2026-01-01T00:00:00.000000Z"}')
"""How many bytes at a body's end are its version: `updated_at`, the closing quote and the closing brace."""
DIGEST_BYTES = 16
BEFORE_VERSION = b'","updated_at":"'


class Bodies(dict[str, bytes]):
    """Bodies by uid. `traces` tells the traceparent of those whose message named one."""

    def __init__(
        self,
        bodies: Mapping[str, bytes] | Iterable[tuple[str, bytes]] = (),
        traces: Mapping[str, Traceparent] | None = None,
    ) -> None:
        super().__init__(bodies)
        self.traces = traces or {}


def render_short_time(moment: Any) -> str:
    """Return a `UtcTime` as RFC 3339, with a fraction only if it has one: how an order's own times are written."""
    assert isinstance(moment, UtcTime)
    return moment.isoformat().removesuffix("+00:00") + "Z"


_encode = json.Encoder(enc_hook=render_short_time).encode


def render_time(moment: datetime) -> str:
    """Return an instant in UTC as RFC 3339 with exactly six fractional digits, so that text sorts as time does."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def version_of(updated_at: datetime) -> bytes:
    """Return the last `VERSION_WIDTH` bytes of a body that was updated at this instant."""
    return render_time(updated_at).encode() + b'"}'


def render_content(order: Order) -> bytes:
    """Return the order as a JSON object in the contract's order of fields: `{...}`."""
    return _encode(order)


def digest(content: bytes) -> bytes:
    """Return a fingerprint of an order's content, `DIGEST_BYTES` long: equal content, equal digest."""
    return blake2b(content, digest_size=DIGEST_BYTES).digest()


def finish_body(content: bytes, created_at: str, updated_at: str) -> bytes:
    """Close `content` with its two timestamps, each as `render_time` returns it."""
    return b'%b,"created_at":"%b","updated_at":"%b"}' % (content[:-1], created_at.encode(), updated_at.encode())


def render_body(order: Order, created_at: datetime, updated_at: datetime) -> bytes:
    """Return the whole body of a stored order."""
    return finish_body(render_content(order), render_time(created_at), render_time(updated_at))


def body_belongs_to(body: bytes, order_uid: str) -> bool:
    """Whether cached bytes are whole and of this very order. Anything else counts as a miss."""
    return (
        body.startswith(b'{"order_uid":%b,' % _encode(order_uid))
        and body.endswith(b'Z"}')
        and body.endswith(BEFORE_VERSION, 0, -VERSION_WIDTH)
    )
