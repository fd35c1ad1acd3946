"""Feeds messages to the publisher: reads a little ahead, limits the rate, and returns chunks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from engine.actors.mailbox import Mailbox, MailboxClosed
from orderflow.publishing.messages import Message

CHUNK_MESSAGES = 1000
CHUNK_BYTES = 4 << 20


class Feed:
    """Reads `messages` in a separate task, at most `rate` per second on average (None: as fast as they are taken)."""

    def __init__(self, messages: AsyncIterator[Message], rate: float | None = None) -> None:
        self._messages = messages
        self._rate = rate
        self._mailbox: Mailbox[Message] = Mailbox(CHUNK_MESSAGES, CHUNK_BYTES)
        self._task = asyncio.create_task(self._read(), name="publisher-feed")
        self.stopped = False

    async def take(self) -> list[Message]:
        """Return all waiting messages, at least one; an empty list at the end.

        An exception of `messages` is raised here, after the messages before it were taken.
        """
        chunk = await self._mailbox.take(CHUNK_MESSAGES, CHUNK_BYTES)
        if not chunk:
            with suppress(asyncio.CancelledError):
                await self._task
        return chunk

    def stop(self) -> None:
        """Stop reading, and drop messages that were read but not taken."""
        self.stopped = True
        self._task.cancel()
        self._mailbox.close()
        self._mailbox.clear()

    async def _read(self) -> None:
        clock = asyncio.get_running_loop().time
        due = clock()
        try:
            async for message in self._messages:
                if self._rate is not None:
                    # After a late message the next ones may catch up by at most one second.
                    due = max(due, clock() - 1)
                    await asyncio.sleep(due - clock())
                    due += 1 / self._rate
                await self._mailbox.put(message, len(message.value or b""))
        except MailboxClosed:
            return
        finally:
            self._mailbox.close()
