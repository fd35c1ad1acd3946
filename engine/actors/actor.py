"""A batch actor: a task that is given everything that waits in its mailbox, again and again.

Under load its batches grow, at rest they hold one message, and no timer has to be tuned.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from engine.actors.mailbox import Mailbox

M = TypeVar("M")


class BatchActor(Generic[M]):
    """Runs `handle_batch` over what waits in a bounded mailbox, one batch at a time.

    `handle_batch` owns its failures: bad data is a value it deals with, an outage is something it waits out. An
    exception that leaves it is a defect; the actor ends with it and `wait()` raises it.
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
        """Hand the actor a message, waiting for room. Raises `MailboxClosed`."""
        await self.mailbox.put(message, weight, items)

    def put_nowait(self, message: M, weight: int = 0, items: int = 1) -> bool:
        """Hand the actor a message if there is room; return whether it was taken. Raises `MailboxClosed`."""
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
            self.mailbox.close()  # nobody may wait for room that will never come

    async def wait(self) -> None:
        """Wait until the actor has ended. Raises what ended it."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self, deadline_s: float) -> bool:
        """Refuse new messages, finish those that wait, and return whether that was done within `deadline_s` seconds.

        What is not done by then is cancelled. An actor that never started, or was stopped before, is fine.
        """
        self.mailbox.close()
        task = self._task
        if task is None:
            return not self.mailbox.clear()
        done, _ = await asyncio.wait({task}, timeout=max(0.0, deadline_s))
        if done:
            return not task.cancelled() and task.exception() is None
        task.cancel()
        await asyncio.wait({task})
        return False
