"""What the publisher sends: made-up orders, some of them spoiled or repeated, or the lines of a file."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from os import read
from random import Random

import attrs
from msgspec import json

from handlers.decode import decode_order
from handlers.model import Order
from orderflow.publishing.orders import Document, OrderGenerator, changed
from orderflow.publishing.spoiling import spoil

_REMEMBERED = 1000
_READ_BYTES = 1 << 18


@attrs.frozen
class Message:
    """One message to send. `order_uid` is None when the value holds no valid order.

    Without a `partition` the key decides.
    """

    key: bytes | None
    value: bytes | None
    order_uid: str | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


def generate_messages(
    seed: int | None = None, *, invalid_share: float = 0.0, repeat_share: float = 0.0
) -> Iterator[Message]:
    """Make messages without end. The shares, from 0 to 1 and at most 1 together, are kept to within one message.

    A repeat is one of the last orders again, every other time in a newer version. The same seed makes the same
    messages.
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
    """Return how many of the first `position` messages a share makes; 0.1 is a little less than a tenth in binary."""
    return int(position * share + 1e-9)


def _message(order: Document) -> Message:
    return Message(order["order_uid"].encode(), json.encode(order), order["order_uid"])


async def read_messages(descriptor: int) -> AsyncIterator[Message]:
    """Make a message of every line that is not blank, its bytes as they are, as soon as the line is there.

    `descriptor` is an open file, pipe or terminal. Raises `OSError` when it cannot be read.
    """
    rest = b""
    while chunk := await _read(descriptor):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield message_of(line)
    if rest.strip():
        yield message_of(rest)


def message_of(value: bytes) -> Message:
    """Return the message that carries `value`; its key is the order's uid, if the value says one."""
    decoded = decode_order(value)
    if isinstance(decoded, Order):
        return Message(decoded.order_uid.encode(), value, decoded.order_uid)
    return Message(decoded.subject.encode() if decoded.subject else None, value, None)


async def _read(descriptor: int) -> bytes:
    """Read what is there, waiting without blocking the loop: a pipe may be silent for hours, and Ctrl-C must work."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(descriptor, readable.set)
    except PermissionError:  # an ordinary file: epoll refuses it, and it is always readable
        return read(descriptor, _READ_BYTES)
    try:
        await readable.wait()
        return read(descriptor, _READ_BYTES)
    finally:
        loop.remove_reader(descriptor)
