"""A bounded mailbox: a queue of messages. A full mailbox makes its senders wait (backpressure)."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

M = TypeVar("M")


class MailboxClosed(Exception):
    """The mailbox accepts no more messages because its actor is stopping."""


class Mailbox(Generic[M]):
    """Messages in order of arrival, limited by the number of items in them and by their weight.

    A message counts as one item unless its sender gives another number (for example the records in a chunk). The unit
    of the weight is the sender's choice, usually bytes. An empty mailbox accepts a message that is larger than its
    capacity: otherwise that message would wait for ever.
    """

    def __init__(self, capacity_items: int, capacity_weight: int | None = None) -> None:
        self._capacity_items = capacity_items
        self._capacity_weight = capacity_weight
        self._messages: deque[tuple[M, int, int]] = deque()
        self._items = 0
        self._weight = 0
        self._closed = False
        self._arrived = asyncio.Event()
        self._senders: deque[tuple[M, int, int, asyncio.Future[None]]] = deque()

    def __len__(self) -> int:
        return self._items

    @property
    def weight(self) -> int:
        """The total weight of the waiting messages."""
        return self._weight

    @property
    def closed(self) -> bool:
        """Whether new messages are refused."""
        return self._closed

    def _fits(self, items: int, weight: int) -> bool:
        if not self._messages:
            return True
        light = self._capacity_weight is None or self._weight + weight <= self._capacity_weight
        return light and self._items + items <= self._capacity_items

    async def put(self, message: M, weight: int = 0, items: int = 1) -> None:
        """Add a message. Waits while the mailbox is full; senders are served in their order. Raises `MailboxClosed`.

        If the sender is cancelled at the same moment at which its message is accepted, the message has been sent.
        """
        if self.put_nowait(message, weight, items):
            return
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._senders.append((message, weight, items, taken))
        try:
            await taken
        except asyncio.CancelledError:
            self._admit()  # the messages of the senders behind this one may fit
            raise

    def put_nowait(self, message: M, weight: int = 0, items: int = 1) -> bool:
        """Add a message if it fits and no other sender waits. Returns whether it was added. Raises `MailboxClosed`."""
        if self._closed:
            raise MailboxClosed
        if self._senders or not self._fits(items, weight):
            return False
        self._add(message, weight, items)
        return True

    def _add(self, message: M, weight: int, items: int) -> None:
        self._messages.append((message, weight, items))
        self._items += items
        self._weight += weight
        self._arrived.set()

    def _admit(self) -> None:
        """Add the messages of the waiting senders, in order of arrival, until the mailbox is full."""
        while self._senders:
            message, weight, items, taken = self._senders[0]
            if not taken.cancelled():
                if not self._fits(items, weight):
                    return
                self._add(message, weight, items)
                taken.set_result(None)
            self._senders.popleft()

    async def take(self, max_items: int, max_weight: int | None = None) -> list[M]:
        """Wait for a message, then return all waiting messages up to the limits, and at least one.

        Returns an empty list when the mailbox is closed and empty: no more messages will come.
        """
        while not self._messages:
            if self._closed:
                return []
            self._arrived.clear()
            await self._arrived.wait()
        taken: list[M] = []
        items = weight = 0
        while self._messages:
            message, its_weight, its_items = self._messages[0]
            heavy = max_weight is not None and weight + its_weight > max_weight
            if taken and (heavy or items + its_items > max_items):
                break
            self._messages.popleft()
            taken.append(message)
            items += its_items
            weight += its_weight
        self._items -= items
        self._weight -= weight
        self._admit()
        return taken

    def close(self) -> None:
        """Refuse new messages. The waiting ones can still be taken. May be called twice."""
        self._closed = True
        self._arrived.set()
        while self._senders:
            *_, taken = self._senders.popleft()
            if not taken.done():
                taken.set_exception(MailboxClosed())

    def clear(self) -> list[M]:
        """Remove all waiting messages and return them."""
        dropped = [message for message, _, _ in self._messages]
        self._messages.clear()
        self._items = self._weight = 0
        self._admit()
        return dropped
