"""The connection's side of the application: broken requests, slow heads, and headers on what never reaches a route.

No name here is private to aiohttp, but not all of them are documented: that a site asks its runner's `server` for the
protocol of a connection, the arguments of `RequestHandler`, its hooks `handle_error` and `log_exception`, and when it
starts the keep-alive timer. Written for aiohttp 3.14.5: `tests/unit/test_library_versions.py` fails at any other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from lookup.serving.access_log import AccessLog
from lookup.serving.answers import add_security_headers, error_answer
from lookup.serving.middleware import answer_http_exception, report_defect
from lookup.serving.options import LookupOptions

_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: 22\r\n\r\n"
    b'{"error":"overloaded"}'
)


class GuardedHandler(web.RequestHandler):
    """One connection. What cannot be parsed as HTTP is answered as every other error is."""

    __slots__ = ("_connected_to", "_max_connections")

    def __init__(self, manager: web.Server, *, max_connections: int, **arguments: Any) -> None:
        super().__init__(manager, **arguments)
        self._connected_to = manager
        self._max_connections = max_connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, unless there are too many connections."""
        super().connection_made(transport)
        if len(self._connected_to.connections) > self._max_connections:
            cast("asyncio.Transport", transport).write(_TOO_MANY)
            self.force_close()

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


class LookupRunner(web.AppRunner):
    """Runs the application with its limits.

    `keepalive_timeout` is what cuts off a slow head: aiohttp starts it when a connection opens and again after each
    answer, and closes the connection when it ends while no whole head has arrived, however many bytes trickled in.
    """

    __slots__ = ("_connection_arguments",)

    def __init__(self, application: web.Application, options: LookupOptions, *, shutdown_timeout_s: float) -> None:
        super().__init__(application, shutdown_timeout=shutdown_timeout_s)
        self._connection_arguments: dict[str, Any] = {
            "max_connections": options.max_connections,
            "access_log_class": AccessLog,
            "keepalive_timeout": options.head_deadline_s,
            "max_line_size": options.max_line_bytes,
            "max_field_size": options.max_field_bytes,
            "max_headers": options.max_headers,
            "lingering_time": options.lingering_s,
        }

    async def setup(self) -> None:
        """Start the application. Connections are accepted once a site is started."""
        await super().setup()
        server = cast("web.Server", super().server)
        server.request_handler = _answering(server.request_handler)

    @property
    def server(self) -> Any:
        """What a site calls for the protocol of each new connection; None before `setup`."""
        server = super().server
        if server is None:
            return None
        loop = asyncio.get_running_loop()
        return partial(GuardedHandler, server, loop=loop, debug=loop.get_debug(), **self._connection_arguments)


_Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def _answering(handle: _Handle) -> _Handle:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handle(request)
        except web.HTTPException as error:
            # An `Expect` that cannot be met is refused before the middlewares run.
            return answer_http_exception(error)

    return answer
