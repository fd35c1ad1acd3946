"""Handles every request that goes through aiohttp: errors become JSON, answers get their headers."""

from contextlib import suppress
from time import perf_counter
from traceback import extract_tb

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from lookup.serving import events
from lookup.serving.access_log import BEGAN_S, NO_ROUTE, ROUTE
from lookup.serving.admission import RETRY_AFTER_S
from lookup.serving.answers import add_security_headers, error_answer, json_answer
from lookup.serving.query_parameters import WrongParameter
from lookup.serving.refusal import Refused
from lookup.serving.store_reader import StoresUnavailable

log = structlog.get_logger()

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 417: "expectation_failed"}


def answer_http_exception(error: web.HTTPException) -> web.Response:
    """Return aiohttp's own error (no such route, wrong method) as JSON."""
    kept = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    return error_answer(_CODES.get(error.status, "bad_request"), error.status, kept, allowed=kept.get("Allow"))


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure into JSON that helps the caller and shows nothing internal."""
    request[BEGAN_S] = perf_counter()
    request[ROUTE] = route_of(request) or NO_ROUTE
    try:
        return await handler(request)
    except web.HTTPException as error:
        return answer_http_exception(error)
    except WrongParameter as error:
        return json_answer({"error": "invalid_parameter", "parameter": error.parameter, "allowed": error.allowed}, 400)
    except Refused as refused:
        return json_answer({"error": refused.code, **refused.details}, refused.status, refused.headers)
    except Exception as error:
        return answer_failure(error)


def answer_failure(error: Exception) -> web.Response:
    """Return 503 when neither store can answer; else report a defect, and return 500."""
    if isinstance(error, StoresUnavailable):
        return error_answer("unavailable", 503, {"Retry-After": str(RETRY_AFTER_S)})
    report_defect(error)
    return error_answer("internal_error", 500)


async def add_headers(_request: web.Request, answer: web.StreamResponse) -> None:
    """Add the security headers as late as possible, so that no answer of a route is sent without them."""
    add_security_headers(answer)


def report_defect(error: BaseException) -> None:
    """Log the class of an unexpected error and where it was raised. Its text may quote an order: never log it."""
    frames = extract_tb(error.__traceback__) if error.__traceback__ else []
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
    with suppress(OSError):  # the log itself may be what fails
        log.error(events.HTTP_FAILED, error=type(error).__name__, where=where)


def route_of(request: web.Request) -> str | None:
    """Return the route's pattern, such as `/order/{order_uid}`, or None when no route matches."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else None
