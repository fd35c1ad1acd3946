"""Bounds how many requests are in work at once: one more is refused at once instead of slowing all others down."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from lookup.serving.answers import error_answer

RETRY_AFTER_S = 1
LIVENESS = "/livez"


def admit(max_requests: int) -> Middleware:
    """Return a middleware that answers 503 while `max_requests` are in work.

    Liveness is always answered: a crowd is no reason to restart the process.
    """
    in_work = 0

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal in_work
        if request.rel_url.raw_path == LIVENESS:
            return await handler(request)
        if in_work >= max_requests:
            return error_answer("overloaded", 503, {"Retry-After": str(RETRY_AFTER_S)})
        in_work += 1
        try:
            return await handler(request)
        finally:
            in_work -= 1

    return count
