"""Handles every request: errors become JSON, answers get their headers, and one line is logged."""

from time import perf_counter
from traceback import extract_tb

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.typedefs import Handler

from engine.telemetry.trace_context import TRACEPARENT, Traceparent, parse_traceparent, trace_id_of
from lookup.serving import events
from lookup.serving.answers import add_security_headers, error_answer, json_answer
from lookup.serving.metrics import Metrics
from lookup.serving.query_parameters import WrongParameter
from lookup.serving.refusal import Refused
from lookup.serving.store_reader import StoresUnavailable

log = structlog.get_logger()

ORDER_UID = web.RequestKey("order_uid", str)
"""The uid of the order that was found: for the access log."""
ORDER_TRACE = web.RequestKey("order_trace", Traceparent)
"""The traceparent of that order's message, if the message has one."""
TRACE_ID = web.RequestKey("trace_id", str)
"""The trace id of the request's span, where spans are made."""
METRICS = web.AppKey("metrics", Metrics)
_BEGAN_S = web.RequestKey("began_s", float)
_ROUTE = web.RequestKey("route", str)
RETRY_AFTER_S = 1
_METHOD_CHARACTERS = 16
_NO_ROUTE = "-"
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 417: "expectation_failed"}


def answer_http_exception(error: web.HTTPException) -> web.Response:
    """Return aiohttp's own error (no such route, wrong method) as JSON."""
    kept = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    return error_answer(_CODES.get(error.status, "bad_request"), error.status, kept, allowed=kept.get("Allow"))


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure into JSON that helps the caller and shows nothing internal."""
    request[_BEGAN_S] = perf_counter()
    request[_ROUTE] = route_of(request) or _NO_ROUTE
    try:
        return await handler(request)
    except web.HTTPException as error:
        return answer_http_exception(error)
    except WrongParameter as error:
        return json_answer({"error": "invalid_parameter", "parameter": error.parameter, "allowed": error.allowed}, 400)
    except Refused as refused:
        return json_answer({"error": refused.code, **refused.details}, refused.status, refused.headers)
    except StoresUnavailable:
        return error_answer("unavailable", 503, {"Retry-After": str(RETRY_AFTER_S)})
    except Exception as error:
        report_defect(error)
        return error_answer("internal_error", 500)


async def add_headers(_request: web.Request, answer: web.StreamResponse) -> None:
    """Add the security headers as late as possible, so that no answer of a route is sent without them."""
    add_security_headers(answer)


def report_defect(error: BaseException) -> None:
    """Log the class of an unexpected error and where it was raised. Its text may quote an order: never log it."""
    frames = extract_tb(error.__traceback__) if error.__traceback__ else []
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
    log.error(events.HTTP_FAILED, error=type(error).__name__, where=where)


class AccessLog(AbstractAccessLogger):
    """Writes one line per request. It leaves out the path and the query, which may hold personal data."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line. `time` is in seconds, from the loop's clock, which may have only millisecond precision."""
        began_s = request.get(_BEGAN_S)
        duration_s = time if began_s is None else perf_counter() - began_s
        fields: dict[str, str | int | float] = {
            "method": short_method(request),
            "route": request.get(_ROUTE, _NO_ROUTE),
            "status": response.status,
            "duration_ms": round(duration_s * 1000, 3),
        }
        order_uid = request.get(ORDER_UID)
        if order_uid is not None:
            fields["order_uid"] = order_uid
            if order_trace := request.get(ORDER_TRACE):
                fields["order_trace_id"] = trace_id_of(order_trace)
        if trace_id := request.get(TRACE_ID):
            fields["trace_id"] = trace_id
        elif began_s is not None and (traceparent := request_trace(request)):
            fields["trace_id"] = trace_id_of(traceparent)
        x_cache = response.headers.get("X-Cache")
        if x_cache is not None:
            fields["x_cache"] = x_cache
        log.info(events.HTTP_REQUEST, **fields)
        if began_s is not None and isinstance(request, web.Request):
            metrics = request.app[METRICS]
            metrics.answered(request.method, request.get(_ROUTE, _NO_ROUTE), response.status, duration_s, x_cache)

    @property
    def enabled(self) -> bool:
        """Always true: structlog decides by the level whether the line is written."""
        return True


def request_trace(request: web.BaseRequest) -> Traceparent | None:
    """Return the traceparent that a request carries, if it is valid and the only one.

    Do not call it for a request that could not be parsed: aiohttp gives that one a plain dictionary as headers.
    """
    values = request.headers.getall(TRACEPARENT, ())
    return parse_traceparent(values[0]) if len(values) == 1 else None


def route_of(request: web.Request) -> str | None:
    """Return the route's pattern, such as `/order/{order_uid}`, or None when no route matches."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else None


def short_method(request: web.BaseRequest) -> str:
    """Return the request's method, cut to the length of the longest known one."""
    return request.method[:_METHOD_CHARACTERS]
