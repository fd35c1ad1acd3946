"""A bounded mailbox: the place where work waits, and where backpressure comes from."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

M = TypeVar("M")


class MailboxClosed(Exception):
    """The mailbox takes no more messages: its actor is stopping."""


class Mailbox(Generic[M]):
    """Messages in order of arrival, bounded by how many items they hold and by their weight.

    A message counts as one item unless its sender says that it holds more (a chunk of records, say); the weight is in
    any unit the sender counts, usually bytes. A message larger than the whole mailbox is still taken, alone:
    otherwise it would wait for ever.
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
        """The sum of the weights of what waits."""
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
        """Add a message, waiting in turn until there is room. Raises `MailboxClosed`.

        A sender that is cancelled in the very moment in which its message is taken has sent it.
        """
        if self.put_nowait(message, weight, items):
            return
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._senders.append((message, weight, items, taken))
        try:
            await taken
        except asyncio.CancelledError:
            self._admit()  # this one may have stood before others, for whom there is room
            raise

    def put_nowait(self, message: M, weight: int = 0, items: int = 1) -> bool:
        """Add a message if there is room and nobody waits; return whether it was taken. Raises `MailboxClosed`."""
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
        """Take over the messages of those who wait, first come first served, while there is room."""
        while self._senders:
            message, weight, items, taken = self._senders[0]
            if not taken.cancelled():
                if not self._fits(items, weight):
                    return
                self._add(message, weight, items)
                taken.set_result(None)
            self._senders.popleft()

    async def take(self, max_items: int, max_weight: int | None = None) -> list[M]:
        """Wait for a message, then return all that wait, up to the limits; always at least one.

        Returns an empty list when the mailbox is closed and empty: there will be no more.
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
        """Refuse new messages; what waits can still be taken. Closing twice is fine."""
        self._closed = True
        self._arrived.set()
        while self._senders:
            *_, taken = self._senders.popleft()
            if not taken.done():
                taken.set_exception(MailboxClosed())

    def clear(self) -> list[M]:
        """Drop and return everything that waits."""
        dropped = [message for message, _, _ in self._messages]
        self._messages.clear()
        self._items = self._weight = 0
        self._admit()
        return dropped
