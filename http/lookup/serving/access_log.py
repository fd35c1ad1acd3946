"""The access line: one per request, without the path and the query, which may hold personal data."""

from time import perf_counter
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from engine.telemetry.frequent_line import FrequentLine
from engine.telemetry.trace_context import TRACEPARENT, Traceparent, parse_traceparent, trace_id_of
from lookup.serving import events
from lookup.serving.metrics import METRICS

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

ORDER_UID = web.RequestKey("order_uid", str)
"""The uid of the order that was found."""
ORDER_TRACE = web.RequestKey("order_trace", Traceparent)
"""The traceparent of that order's message, if the message has one."""
TRACE_ID = web.RequestKey("trace_id", str)
"""The trace id of the request's span, where spans are made."""
BEGAN_S = web.RequestKey("began_s", float)
"""When the request was first seen, by `perf_counter`. A request that could not be parsed has none."""
ROUTE = web.RequestKey("route", str)
"""The route's pattern."""
NO_ROUTE = "-"
_METHOD_CHARACTERS = 16
_line = FrequentLine(events.HTTP_REQUEST)


class AccessLog(AbstractAccessLogger):
    """Writes the line of each request that aiohttp has answered, and counts the request."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line. `time` is in seconds, from the loop's clock, which may have only millisecond precision."""
        began_s = request.get(BEGAN_S)
        duration_s = time if began_s is None else perf_counter() - began_s
        route, x_cache = request.get(ROUTE, NO_ROUTE), response.headers.get("X-Cache")
        trace_id = request.get(TRACE_ID)
        if trace_id is None and began_s is not None:
            trace_id = trace_id_in(request.headers)
        write_access_line(
            short_method(request),
            route,
            response.status,
            duration_s,
            order_uid=request.get(ORDER_UID),
            order_trace=request.get(ORDER_TRACE),
            trace_id=trace_id,
            x_cache=x_cache,
        )
        if began_s is not None and isinstance(request, web.Request):
            request.app[METRICS].answered(request.method, route, response.status, duration_s, x_cache)

    @property
    def enabled(self) -> bool:
        """Always true: the log's level decides whether the line is written."""
        return True


def write_access_line(
    method: str,
    route: str,
    status: int,
    duration_s: float,
    *,
    order_uid: str | None,
    order_trace: Traceparent | None,
    trace_id: str | None,
    x_cache: str | None,
) -> None:
    """Write the line of one request. What is None is left out; `order_trace` counts only beside an `order_uid`."""
    fields: dict[str, Any] = {
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": round(duration_s * 1000, 3),
    }
    if order_uid is not None:
        fields["order_uid"] = order_uid
        if order_trace is not None:
            fields["order_trace_id"] = trace_id_of(order_trace)
    if trace_id is not None:
        fields["trace_id"] = trace_id
    if x_cache is not None:
        fields["x_cache"] = x_cache
    _line.write(fields)


def request_trace(headers: "CIMultiDictProxy[str]") -> Traceparent | None:
    """Return the traceparent in a request's headers, if it is valid and the only one.

    Do not call it for a request that could not be parsed: aiohttp gives that one a plain dictionary as headers.
    """
    values = headers.getall(TRACEPARENT, ())
    return parse_traceparent(values[0]) if len(values) == 1 else None


def trace_id_in(headers: "CIMultiDictProxy[str]") -> str | None:
    """Return the trace id of `request_trace`, or None."""
    if TRACEPARENT not in headers:
        return None
    traceparent = request_trace(headers)
    return None if traceparent is None else trace_id_of(traceparent)


def short_method(request: web.BaseRequest) -> str:
    """Return the request's method, cut to the length of the longest known one."""
    return request.method[:_METHOD_CHARACTERS]
