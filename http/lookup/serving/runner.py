"""Runs the application: gives each connection its protocol, with the limits.

Not all names of aiohttp that are used here are documented: that a site asks its runner's `server` for the protocol of a
connection. Written for aiohttp 3.14.5: `tests/unit/test_library_versions.py` fails at any other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from aiohttp import web

from lookup.serving.access_log import AccessLog
from lookup.serving.direct import DIRECT, DirectHandler
from lookup.serving.middleware import answer_http_exception
from lookup.serving.options import LookupOptions
from lookup.serving.timed import TimedHandler
from lookup.serving.unsent import UnsentAnswers


class LookupRunner(web.AppRunner):
    """Runs the application with its limits."""

    __slots__ = ("_connection_arguments",)

    def __init__(self, application: web.Application, options: LookupOptions, *, shutdown_timeout_s: float) -> None:
        super().__init__(application, shutdown_timeout=shutdown_timeout_s)
        self._connection_arguments: dict[str, Any] = {
            "max_connections": options.max_connections,
            "unsent": UnsentAnswers(options.unsent_max_bytes),
            "access_log_class": AccessLog,
            "head_deadline_s": options.head_deadline_s,
            "keepalive_timeout": options.keepalive_s,
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
        route = self.app.get(DIRECT)
        handler = TimedHandler if route is None else partial(DirectHandler, route=route)
        return partial(handler, server, loop=loop, debug=loop.get_debug(), **self._connection_arguments)


_Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def _answering(handle: _Handle) -> _Handle:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handle(request)
        except web.HTTPException as error:
            # An `Expect` that cannot be met is refused before the middlewares run.
            return answer_http_exception(error)

    return answer
