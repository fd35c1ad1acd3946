"""Limits how many requests are handled at once: more are refused immediately instead of slowing all others down."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from lookup.serving.answers import error_answer

RETRY_AFTER_S = 1
LIVENESS = "/livez"


def admit(max_requests: int) -> Middleware:
    """Return a middleware that answers 503 while `max_requests` requests are being handled.

    Liveness is always answered: a high load is no reason to restart the process.
    """
    in_progress = 0

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal in_progress
        if request.rel_url.raw_path == LIVENESS:
            return await handler(request)
        if in_progress >= max_requests:
            return error_answer("overloaded", 503, {"Retry-After": str(RETRY_AFTER_S)})
        in_progress += 1
        try:
            return await handler(request)
        finally:
            in_progress -= 1

    return count
