"""One source, many listeners: each value is made once for all, and a slow listener does not delay the others."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from engine.actors.cancelling import cancel
from lookup.serving.middleware import report_defect


class TooManyListeners(Exception):
    """The maximum number of listeners is reached."""


class Broadcast:
    """Calls `make` every `every_s` seconds while there are listeners, and keeps only the newest value."""

    def __init__(self, make: Callable[[], Awaitable[bytes]], *, every_s: float, max_listeners: int) -> None:
        self._make = make
        self._every_s = every_s
        self._max_listeners = max_listeners
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._update = asyncio.Event()
        self.closed = False
        self.number = 0
        """The sequence number of `newest`. 0: there is no value yet."""
        self.newest = b""

    def listen(self) -> "Listener":
        """Return a listener, to be used as a context manager. Raises `TooManyListeners`."""
        if self.closed or len(self._listeners) >= self._max_listeners:
            raise TooManyListeners
        listener = Listener(self)
        self._listeners.add(listener)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="broadcast")
        return listener

    def leave(self, listener: "Listener") -> None:
        """Forget a listener."""
        self._listeners.discard(listener)

    async def wait_for_update(self) -> None:
        """Return when there is a newer value, or the broadcast has ended."""
        await self._update.wait()

    async def close(self) -> None:
        """End the broadcast at once: waiting listeners return None, and a running `taking` is interrupted."""
        self.closed = True
        self._wake()
        for listener in self._listeners:
            listener.interrupt()
        if self._task is not None:
            await cancel(self._task)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while self._listeners:
                began_s = clock()
                try:
                    self.newest = await self._make()
                except Exception as error:
                    report_defect(error)
                else:
                    self.number += 1
                    self._wake()
                await asyncio.sleep(max(0.0, began_s + self._every_s - clock()))
        finally:
            self._task = None
            self.number, self.newest = 0, b""

    def _wake(self) -> None:
        update, self._update = self._update, asyncio.Event()
        update.set()


class Listener:
    """Takes the newest value each time; values that were made in between are missed."""

    def __init__(self, broadcast: Broadcast) -> None:
        self._broadcast = broadcast
        self._number = 0
        self._taking: asyncio.Timeout | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._broadcast.leave(self)

    async def next(self) -> bytes | None:
        """Wait for a value that is newer than the last returned one, and return it. None: the broadcast has ended."""
        broadcast = self._broadcast
        while not broadcast.closed and broadcast.number in {0, self._number}:
            await broadcast.wait_for_update()
        self._number = broadcast.number
        return None if broadcast.closed else broadcast.newest

    @asynccontextmanager
    async def taking(self, deadline_s: float) -> AsyncIterator[None]:
        """Guard the sending of a value. Raises `TimeoutError` after the deadline, or when the broadcast ends."""
        try:
            async with asyncio.timeout(0 if self._broadcast.closed else deadline_s) as self._taking:
                yield
        finally:
            self._taking = None

    def interrupt(self) -> None:
        """End a running `taking` now."""
        if self._taking is not None:
            self._taking.reschedule(0)
