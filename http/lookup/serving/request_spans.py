"""A span for each request, if tracing is on."""

from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from engine.telemetry.trace_context import TRACESTATE
from lookup.serving.access_log import ORDER_TRACE, ORDER_UID, TRACE_ID, request_trace, short_method
from lookup.serving.middleware import route_of

if TYPE_CHECKING:
    from engine.telemetry.spans import Tracing

_ABORTED_STATUS = 500


def trace_requests(tracing: "Tracing") -> Middleware:
    """Return the middleware that makes spans. It must be the outermost one."""

    @web.middleware
    async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
        state = request.headers.get(TRACESTATE)
        span = tracing.serving(short_method(request), route_of(request), request_trace(request.headers), state)
        request[TRACE_ID] = tracing.trace_id(span)
        answer = None
        try:
            answer = await handler(request)
        finally:
            status = _ABORTED_STATUS if answer is None else answer.status
            tracing.served(span, status, request.get(ORDER_TRACE), _attributes(request, answer))
        return answer

    return trace


def _attributes(request: web.Request, answer: web.StreamResponse | None) -> dict[str, str]:
    attributes = {"orderflow.subject": request.get(ORDER_UID)}
    if answer is not None:
        attributes["orderflow.cache"] = answer.headers.get("X-Cache")
    return {name: value for name, value in attributes.items() if value is not None}
