"""The messages that the publisher sends: generated orders, some invalid or repeated, or given values."""

from collections import deque
from collections.abc import Iterator
from random import Random

import attrs
from msgspec import json

from handlers.decode import decode_order
from handlers.model import Order
from orderflow.publishing.orders import Document, OrderGenerator, changed
from orderflow.publishing.spoiling import spoil

_REMEMBERED = 1000


@attrs.frozen
class Message:
    """One message to send. `order_uid` is None when the value is not a valid order.

    Without a `partition` the key determines it.
    """

    key: bytes | None
    value: bytes | None
    order_uid: str | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


def generate_messages(
    seed: int | None = None, *, invalid_share: float = 0.0, repeat_share: float = 0.0
) -> Iterator[Message]:
    """Generate messages without end. The shares are from 0 to 1, with a sum of at most 1, and exact to one message.

    A repeat sends one of the last orders again; every second repeat is a newer version of it. The same seed makes the
    same messages.
    """
    random = Random(seed)
    generator = OrderGenerator(seed)
    recent: deque[Document] = deque(maxlen=_REMEMBERED)
    invalid = repeated = position = 0
    while True:
        position += 1
        if invalid < _due(position, invalid_share):
            invalid += 1
            order = generator.order()
            yield Message(order["order_uid"].encode(), spoil(order, random), None)
        elif recent and repeated < _due(position, repeat_share):
            repeated += 1
            index = random.randrange(len(recent))
            if repeated % 2 == 0:
                recent[index] = changed(recent[index])
            yield _message(recent[index])
        else:
            recent.append(generator.order())
            yield _message(recent[-1])


def _due(position: int, share: float) -> int:
    """Return how many of the first `position` messages the share makes. The small addend corrects binary rounding."""
    return int(position * share + 1e-9)


def _message(order: Document) -> Message:
    return Message(order["order_uid"].encode(), json.encode(order), order["order_uid"])


def message_of(value: bytes) -> Message:
    """Return the message with this value; its key is the order's uid, if the value has one."""
    decoded = decode_order(value)
    if isinstance(decoded, Order):
        return Message(decoded.order_uid.encode(), value, decoded.order_uid)
    return Message(decoded.subject.encode() if decoded.subject else None, value, None)
