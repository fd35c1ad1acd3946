"""A connection that bounds a slow head and an idle time separately: aiohttp has one timer for both.

Names private to aiohttp are used here and in `lookup.serving.direct` only (docs/decisions/0013-direct-answers.md).
Written for aiohttp 3.14.5: `tests/unit/test_library_versions.py` fails at any other.
"""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiohttp import EMPTY_PAYLOAD, web

from lookup.serving.protocol import GuardedHandler, UnsupportedVersion

Parsed = tuple[Any, bool, bytes]
"""What aiohttp's parser returns: messages with their payloads; whether the last is an upgrade; what is behind it."""
_END = b"\r\n\r\n"
"""The end of a head."""


class TimedHandler(GuardedHandler):
    """One connection. `head_deadline_s` bounds a head, aiohttp's `keepalive_timeout` the time between an answer and it.

    The time of a head begins with the connection, later with the first byte; while a request in progress keeps a head
    waiting, it begins again. The first bytes of a head in the same packet as the end of a body are not recognised: then
    the time begins with the next bytes.
    """

    __slots__ = ("_head_body", "_head_deadline_s", "_head_timer", "_parse")

    def __init__(self, manager: web.Server, *, head_deadline_s: float, **arguments: Any) -> None:
        super().__init__(manager, **arguments)
        self._head_deadline_s = head_deadline_s
        self._head_timer: asyncio.TimerHandle | None = None
        """Runs while a part of a head has arrived, and before the first one."""
        self._head_body: Any = None
        """The body of the last head, while it is not complete."""
        parser: Any = self._parser
        self._parse: Any = parser.feed_data
        between: Any = SimpleNamespace(
            feed_data=self.feed,
            feed_eof=parser.feed_eof,
            message_consumed=parser.message_consumed,
            pause_reading=parser.pause_reading,
            set_upgraded=parser.set_upgraded,
        )
        self._parser = between

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve. The first head must be complete in time."""
        super().connection_made(transport)
        self._await_head()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks whether the connection stays open
        """Answer the request in progress, although the client has ended its side: it may still read, as `nc -N` does.

        A client that is gone is noticed when it is written to. aiohttp answers no request that waits behind this one.
        """
        if not self.in_progress():
            return False
        self.close()
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the timer."""
        super().connection_lost(exc)
        self._stop_awaiting()
        # The parser refers to this object: the cycle would keep both until the garbage collector's next run.
        self._parse = self._head_body = None

    def feed(self, data: bytes) -> Parsed:
        """Parse for `data_received`. Raises as the parser does, and `UnsupportedVersion`."""
        parsed: Parsed = self._parse(data)
        for message, _ in parsed[0]:
            if message.version.major != 1:
                raise UnsupportedVersion
        if not parsed[0]:
            self._note_part(data)
        elif self._head_timer is not None or parsed[0][-1][1] is not EMPTY_PAYLOAD or data[-4:] != _END:
            self._note_heads(data, parsed[0][-1][1])
        return parsed

    def _note_part(self, data: bytes) -> None:
        """Note bytes that completed no head: they are a part of one, or of a body, or blank lines."""
        if self._head_body is not None:
            if self._head_body.is_eof():
                self._head_body = None
        elif self._head_timer is None and data.strip(b"\r\n"):
            self._await_head()

    def _note_heads(self, data: bytes, payload: Any) -> None:
        """Note complete heads; `payload` is that of the last, and a part of the next one may be behind it."""
        self._head_body = None if payload.is_eof() else payload
        if not data:
            return  # the parser had held it back, with what is behind it
        self._stop_awaiting()
        if payload is EMPTY_PAYLOAD and not data.endswith(_END) and not _END.endswith(data):
            self._await_head()

    def _await_head(self) -> None:
        self._head_timer = self._loop.call_later(self._head_deadline_s, self._end_slow_head)

    def _stop_awaiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_slow_head(self) -> None:
        self._head_timer = None
        if self.in_progress():
            self._await_head()
        else:
            self.force_close()

    def in_progress(self) -> bool:
        """Return whether a request is in progress: aiohttp waits for none."""
        return self._waiter is None or self._waiter.done()

    def _process_keepalive(self) -> None:
        if self._head_timer is not None or self.in_progress():
            self._keepalive_handle = None  # the answer starts it again
        else:
            super()._process_keepalive()
