"""The connection's side of the application: too many of them, slow readers, broken requests, and aiohttp's own logs.

No name here is private to aiohttp, but not all of them are documented: the arguments of `RequestHandler`, and its
hooks `handle_error` and `log_exception`. Written for aiohttp 3.14.5: `tests/unit/test_library_versions.py` fails at any
other.
"""

import asyncio
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from lookup.serving.admission import refuse_for_load
from lookup.serving.answers import add_security_headers, error_answer
from lookup.serving.heads import Date, render_answer
from lookup.serving.middleware import report_defect
from lookup.serving.unsent import UNCOUNTED_BYTES, UnsentAnswers


class UnsupportedVersion(HttpProcessingError):
    """A request of HTTP/0.9 or HTTP/2.0 in the form of HTTP/1. aiohttp would answer it, as if it spoke that version."""

    code = 505


class GuardedHandler(web.RequestHandler):
    """One connection. What cannot be parsed as HTTP is answered as every other error is."""

    __slots__ = ("_connected_to", "_max_connections", "_unsent")

    def __init__(self, manager: web.Server, *, max_connections: int, unsent: UnsentAnswers, **arguments: Any) -> None:
        super().__init__(manager, **arguments)
        self._unsent = unsent
        self._connected_to = manager
        self._max_connections = max_connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, unless there are too many connections."""
        super().connection_made(transport)
        cast("asyncio.Transport", transport).set_write_buffer_limits(UNCOUNTED_BYTES)
        if len(self._connected_to.connections) > self._max_connections:
            answer = render_answer(refuse_for_load(), Date().now(), closes=True)
            cast("asyncio.Transport", transport).write(answer)
            self.force_close()

    def pause_writing(self) -> None:
        """Count what waits for a slow reader."""
        super().pause_writing()
        self._unsent.begin(cast("asyncio.Transport", self.transport))

    def resume_writing(self) -> None:
        """Go on, because the reader has taken it."""
        self._unsent.end(cast("asyncio.Transport", self.transport))
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget what waits."""
        self._unsent.end(cast("asyncio.Transport", self.transport))
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it may quote the request
    ) -> web.StreamResponse:
        """Return the answer to a request that no route has seen, or in which aiohttp itself failed."""
        if exc is not None and not isinstance(exc, HttpProcessingError):
            report_defect(exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of another answer is already sent")
        if isinstance(exc, UnsupportedVersion):
            answer = error_answer("http_version_not_supported", exc.code, allowed="HTTP/1.1")
        else:
            answer = error_answer("bad_request" if status < 500 else "internal_error", status)  # noqa: PLR2004
        add_security_headers(answer)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log what went wrong in aiohttp itself. A body that breaks off after its answer is the caller's affair."""
        error = kw.get("exc_info")
        if isinstance(error, web.RequestPayloadError):
            return
        if isinstance(error, BaseException):
            report_defect(error)
        else:
            super().log_exception(*args, **kw)
