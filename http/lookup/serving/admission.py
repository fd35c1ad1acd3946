"""Limits how many requests are handled at once: more are refused immediately instead of slowing all others down."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from lookup.serving.answers import error_answer

RETRY_AFTER_S = 1
LIVENESS = "/livez"


class Admission:
    """Counts the requests that are being handled, whichever way: at most `max_requests` at once."""

    def __init__(self, max_requests: int) -> None:
        self._room = max_requests

    def enter(self) -> bool:
        """Take a place if there is one. Returns whether there was; then `leave` must be called at the end."""
        if self._room <= 0:
            return False
        self._room -= 1
        return True

    def leave(self) -> None:
        """Give the place back."""
        self._room += 1


def refuse_for_load() -> web.Response:
    """Return the answer to whoever finds no place."""
    return error_answer("overloaded", 503, {"Retry-After": str(RETRY_AFTER_S)})


def admit(admission: Admission) -> Middleware:
    """Return a middleware that answers 503 while there is no place.

    Liveness is always answered: a high load is no reason to restart the process.
    """

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.rel_url.raw_path == LIVENESS:
            return await handler(request)
        if not admission.enter():
            return refuse_for_load()
        try:
            return await handler(request)
        finally:
            admission.leave()

    return count
