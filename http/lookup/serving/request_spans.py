"""A span for each request, where spans are wanted."""

from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from engine.telemetry.trace_context import TRACESTATE
from lookup.serving.middleware import ORDER_TRACE, ORDER_UID, TRACE_ID, request_trace, route_of, short_method

if TYPE_CHECKING:
    from engine.telemetry.spans import Tracing

_BROKEN_OFF = 500


def trace_requests(tracing: "Tracing") -> Middleware:
    """Return the middleware that makes them. It belongs around all others."""

    @web.middleware
    async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
        state = request.headers.get(TRACESTATE)
        span = tracing.serving(short_method(request), route_of(request), request_trace(request), state)
        request[TRACE_ID] = tracing.trace_id(span)
        answer = None
        try:
            answer = await handler(request)
        finally:
            status = _BROKEN_OFF if answer is None else answer.status
            tracing.served(span, status, request.get(ORDER_TRACE), _about(request, answer))
        return answer

    return trace


def _about(request: web.Request, answer: web.StreamResponse | None) -> dict[str, str]:
    told = {"orderflow.subject": request.get(ORDER_UID)}
    if answer is not None:
        told["orderflow.cache"] = answer.headers.get("X-Cache")
    return {name: value for name, value in told.items() if value is not None}
