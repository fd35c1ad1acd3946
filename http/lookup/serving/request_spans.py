"""A span for each request, if tracing is on. What a machine asks every few seconds has one only if it wants it."""

from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from engine.telemetry.trace_context import TRACESTATE, is_sampled
from lookup.serving.access_log import ORDER_TRACE, ORDER_UID, TRACE_ID, request_trace, short_method
from lookup.serving.middleware import route_of

if TYPE_CHECKING:
    from engine.telemetry.spans import Tracing

POLLED_ROUTES = frozenset({"/healthz", "/livez", "/metrics", "/readyz"})
"""Asked all day by load balancers, orchestrators and Prometheus. Without a sampled `traceparent` there is no span."""


def trace_requests(tracing: "Tracing") -> Middleware:
    """Return the middleware that makes spans. It must be the outermost one."""

    @web.middleware
    async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
        route, traceparent = route_of(request), request_trace(request.headers)
        if route in POLLED_ROUTES and (traceparent is None or not is_sampled(traceparent)):
            return await handler(request)
        span = tracing.serving(short_method(request), route, traceparent, request.headers.get(TRACESTATE))
        request[TRACE_ID] = tracing.trace_id(span)
        answer = None
        try:
            answer = await handler(request)
        finally:
            status = None if answer is None else answer.status
            tracing.served(span, status, request.get(ORDER_TRACE), _attributes(request, answer))
        return answer

    return trace


def _attributes(request: web.Request, answer: web.StreamResponse | None) -> dict[str, str]:
    attributes = {"orderflow.subject": request.get(ORDER_UID)}
    if answer is not None:
        attributes["orderflow.cache"] = answer.headers.get("X-Cache")
    return {name: value for name, value in attributes.items() if value is not None}
