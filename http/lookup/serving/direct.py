"""A connection that answers plain requests of one route itself, without aiohttp's task, request and answer objects.

aiohttp's parser reads every request. Whatever is unusual goes on to aiohttp, as if this file did not exist: other
methods and routes, HTTP/1.0, a body, `Expect`, an upgrade, what is not HTTP, and a request behind one that aiohttp
still answers. A connection has one request in progress at a time, whichever way: what arrives behind it waits, and is
read on once the answer is sent, so that answers have the order of the requests.

Names private to aiohttp are used here and in `lookup.serving.timed` only (docs/decisions/0013-direct-answers.md).
Written for aiohttp 3.14.5: `tests/unit/test_library_versions.py` fails at any other.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import EMPTY_PAYLOAD, HttpVersion11, hdrs, web

from lookup.serving.timed import Parsed, TimedHandler

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

_NOTHING: Parsed = ((), False, b"")


class DirectRoute(Protocol):
    """Answers the requests of one route."""

    def take(self, path: str, headers: "CIMultiDictProxy[str]", connection: "DirectHandler", *, closes: bool) -> bool:
        """Begin to answer `GET path`, and return True; or return False, and aiohttp answers it.

        `connection.answer` must be called once, and not before this has returned. `closes`: the connection ends with
        this answer.
        """


DIRECT = web.AppKey("direct", DirectRoute)


class DirectHandler(TimedHandler):
    """One connection. `route` gets its plain requests."""

    __slots__ = (
        "_busy",
        "_closes",
        "_consumed",
        "_draining",
        "_ended",
        "_held_back",
        "_no_more",
        "_rest",
        "_route",
        "_unread",
    )

    def __init__(self, manager: web.Server, *, route: DirectRoute, **arguments: Any) -> None:
        super().__init__(manager, **arguments)
        self._route = route
        self._busy = False
        """Whether a request of the route is in progress."""
        self._draining = False
        """Whether its answer is written, and waits for a slow reader."""
        self._closes = False
        self._ended: asyncio.Future[None] | None = None
        self._no_more = False
        """Whether the client has ended its side."""
        self._held_back = False
        """Whether reading was paused for what waits in `_rest` and `_unread`."""
        self._rest: Parsed | None = None
        self._unread: deque[bytes] = deque()
        parser: Any = self._parser
        self._consumed: Any = parser.message_consumed

    def feed(self, data: bytes) -> Parsed:
        """Parse for `data_received`, and keep a first request that the route answers. Raises as the parser does."""
        if self._busy:
            if data:
                self._unread.append(data)
                self._hold_back()
            return _NOTHING
        parsed = self._rest or super().feed(data)
        self._rest = None
        if not parsed[0] or not self._take(*parsed[0][0]):
            return parsed
        self._consumed()
        if len(parsed[0]) > 1:
            self._rest = (parsed[0][1:], *parsed[1:])
            self._hold_back()
        return _NOTHING

    def _take(self, message: Any, payload: Any) -> bool:
        """Return whether the route answers this request. Then the connection is busy until `answer` is called."""
        waiter, headers = self._waiter, message.headers
        if (
            waiter is None
            or waiter.done()
            or self.writing_paused
            or payload is not EMPTY_PAYLOAD
            or message.method != hdrs.METH_GET
            or message.version != HttpVersion11
            or message.upgrade
            or message.compression is not None
            or hdrs.EXPECT in headers
        ):
            return False
        self._closes = message.should_close
        self._busy = self._route.take(message.path, headers, self, closes=self._closes)
        return self._busy

    def _hold_back(self) -> None:
        self._held_back = True
        self._pause_reading_for_buffer()

    def answer(self, data: bytes) -> None:
        """Send the answer to the request that the route took."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)
            self._draining = self.writing_paused
        if not self._draining:
            self._end_request()

    def resume_writing(self) -> None:
        """Go on after a slow reader."""
        super().resume_writing()
        if self._draining:
            self._end_request()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks whether the connection stays open
        """Answer the request in progress, and those of the route behind it."""
        if not self._busy:
            return super().eof_received()
        self._no_more = True
        return True

    def _end_request(self) -> None:
        self._busy = self._draining = False
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        if self._no_more and not self._held_back:
            self._closes = True
        if self._closes or self._close or self._force_close:
            self.force_close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        if self._held_back:
            self._read_on()

    def _read_on(self) -> None:
        while self._held_back and not self._busy:
            if self._rest is not None:
                self.data_received(b"")
            elif self._unread:
                self.data_received(self._unread.popleft())
            else:
                self._held_back = False
                self._resume_reading_if_drained()
        if self._no_more and not self._busy:  # nothing more can come
            if self.in_progress():
                self.close()  # aiohttp answers what it was handed, and closes
            else:
                self.force_close()

    def in_progress(self) -> bool:
        """Return whether a request is in progress, whichever way."""
        return self._busy or super().in_progress()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget what waits. A request in progress ends when the route calls `answer`."""
        super().connection_lost(exc)
        self._consumed = self._rest = None
        self._unread.clear()
        if self._draining:
            self._end_request()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's own
        """Close the connection, after the answer in progress if it is sent within `timeout` seconds."""
        if self._busy:
            self._ended = self._loop.create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._ended
        await super().shutdown(timeout)
