"""Limits the memory of answers that slow readers have not taken yet, over all connections of the process."""

import asyncio

import structlog

from lookup.serving import events

UNCOUNTED_BYTES = 16 * 1024
"""The limit of a transport: with 4,096 connections 64 MiB."""


class UnsentAnswers:
    """At most `max_bytes` wait to be sent. For more, the connection that has waited longest for its reader is cut off.

    Up to `UNCOUNTED_BYTES` of each connection wait beside that: a transport tells of more than its limit only.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._waiting: dict[asyncio.Transport, int] = {}
        """The bytes of each connection, the longest wait first."""

    def begin(self, transport: asyncio.Transport) -> None:
        """Note that a connection waits for its reader. `end` must be called."""
        self._waiting[transport] = transport.get_write_buffer_size()
        self._bytes += self._waiting[transport]
        while self._bytes > self._max_bytes:
            slowest, unsent = next(iter(self._waiting.items()))
            structlog.get_logger().warning(events.SLOW_READER_CUT_OFF, unsent=unsent)
            self.end(slowest)
            slowest.abort()

    def end(self, transport: asyncio.Transport) -> None:
        """Note that a connection waits no longer, or has ended. It need not have waited."""
        self._bytes -= self._waiting.pop(transport, 0)
