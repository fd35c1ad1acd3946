"""A batch actor: a task that repeatedly takes all waiting messages from its mailbox and handles them as one batch.

Under load the batches are large. Without load each batch holds one message. There is no timer to configure.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from engine.actors.cancelling import cancel
from engine.actors.mailbox import Mailbox

M = TypeVar("M")


class BatchActor(Generic[M]):
    """Calls `handle_batch` with the messages that wait in a bounded mailbox, one batch at a time.

    `handle_batch` must handle bad data and wait until an outage ends. An exception that it raises is a defect: the
    actor stops, and `wait()` raises the exception.
    """

    def __init__(
        self,
        name: str,
        handle_batch: Callable[[list[M]], Awaitable[None]],
        *,
        max_items: int,
        max_weight: int | None = None,
        capacity_items: int,
        capacity_weight: int | None = None,
    ) -> None:
        self.name = name
        self.mailbox: Mailbox[M] = Mailbox(capacity_items, capacity_weight)
        self._handle_batch = handle_batch
        self._max_items = max_items
        self._max_weight = max_weight
        self._task: asyncio.Task[None] | None = None

    async def put(self, message: M, weight: int = 0, items: int = 1) -> None:
        """Send the actor a message. Waits while the mailbox is full. Raises `MailboxClosed`."""
        await self.mailbox.put(message, weight, items)

    def put_nowait(self, message: M, weight: int = 0, items: int = 1) -> bool:
        """Send the actor a message if the mailbox is not full. Returns whether it was sent. Raises `MailboxClosed`."""
        return self.mailbox.put_nowait(message, weight, items)

    def start(self) -> None:
        """Start the actor's task. Starting twice is fine."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self.name)

    async def _run(self) -> None:
        try:
            while batch := await self.mailbox.take(self._max_items, self._max_weight):
                await self._handle_batch(batch)
        finally:
            self.mailbox.close()  # senders must not wait for ever: no more messages will be taken

    async def wait(self) -> None:
        """Wait until the actor has stopped. Raises the exception that stopped it, if there was one."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self, deadline_s: float) -> bool:
        """Refuse new messages and handle the waiting ones. Returns whether this finished within `deadline_s` seconds.

        After the deadline the remaining work is cancelled. The actor may never have started, or be stopped already.
        """
        self.mailbox.close()
        task = self._task
        if task is None:
            return not self.mailbox.clear()
        done, _ = await asyncio.wait({task}, timeout=max(0.0, deadline_s))
        if done:
            return not task.cancelled() and task.exception() is None
        await cancel(task)
        return False
