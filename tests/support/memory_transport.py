"""A connection in memory: gives a protocol bytes in parts of the test's choice, and collects what it writes."""

import asyncio
from collections import deque
from typing import Any


class MemoryTransport(asyncio.Transport):
    """The server's end of a connection, as asyncio's transports behave.

    `reads`: whether the client reads what is written. Until it does, writing is paused above the limit that
    the protocol sets.
    """

    def __init__(self, protocol: asyncio.Protocol, *, reads: bool = True) -> None:
        super().__init__()
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._coming: deque[bytes] = deque()
        self._reading = True
        self._reads = reads
        self.paused = False
        """Whether writing is paused."""
        self.written = b""
        self.closed = False
        self._limit = 64 * 1024
        protocol.connection_made(self)

    def feed(self, part: bytes) -> None:
        """Give the protocol a part, as soon as it reads."""
        self._coming.append(part)
        self._deliver()

    def end(self) -> None:
        """End the client's side: it sends no more, but still reads."""
        if not self._protocol.eof_received():
            self.close()

    async def feed_until_paused(self, part: bytes, times: int) -> None:
        """Give the protocol a part so often, and wait until it may not write any more."""
        await asyncio.sleep(0)
        for _ in range(times):
            self.feed(part)
        async with asyncio.timeout(10):
            while not self.paused:
                await asyncio.sleep(0)

    def _deliver(self) -> None:
        while self._reading and self._coming and not self.closed:
            self._protocol.data_received(self._coming.popleft())

    @property
    def all_read(self) -> bool:
        """Whether the protocol was given everything."""
        return not self._coming

    def read_on(self) -> None:
        """Let the client read from now on."""
        self._reads = True
        if self.paused:
            self.paused = False
            self._protocol.resume_writing()

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written += data
        if not self._reads and not self.paused and len(self.written) > self._limit:
            self.paused = True
            self._protocol.pause_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        assert low is None
        self._limit = high

    def get_write_buffer_size(self) -> int:
        return 0 if self._reads else len(self.written)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._loop.call_soon(self._deliver)

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002 - asyncio's own
        return default
