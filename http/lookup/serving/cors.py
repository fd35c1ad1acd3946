"""Lets pages of other origins read answers (CORS): to GET only, without credentials, and never those of dead letters.

Rules: the Fetch standard, https://fetch.spec.whatwg.org/#http-cors-protocol.
"""

from collections.abc import Iterable, Mapping

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

KEPT_FROM_OTHERS = "/dead-letters"
"""The routes that begin so are for pages of this origin only."""
UNNAMED: Mapping[str, str] = {hdrs.VARY: hdrs.ORIGIN}
"""The headers of an answer to any other origin. A cache must not give it to one that is named."""
_READABLE: Mapping[str, str] = {hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "X-Cache, Server-Timing, Retry-After"}
_PREFLIGHT: Mapping[str, str] = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: hdrs.METH_GET,
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "traceparent, tracestate",
    hdrs.ACCESS_CONTROL_MAX_AGE: "600",
}


class Cors:
    """Which origins may read the answers. `headers` has the headers of an answer for each of them."""

    def __init__(self, origins: Iterable[str]) -> None:
        self.headers: Mapping[str | None, Mapping[str, str]] = {
            origin: {**UNNAMED, hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin, **_READABLE} for origin in origins
        }

    async def add_headers(self, request: web.Request, answer: web.StreamResponse) -> None:
        """Add the headers to an answer of a route that others may read."""
        if request.method == hdrs.METH_GET and _may_be_read(request, request.match_info):
            answer.headers.update(self.headers.get(request.headers.get(hdrs.ORIGIN), UNNAMED))


def answer_preflights(cors: Cors) -> Middleware:
    """Return a middleware that answers a browser's question whether a page may send a GET with headers of its own."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        if (
            request.method != hdrs.METH_OPTIONS
            or origin not in cors.headers
            or request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD) != hdrs.METH_GET
        ):
            return await handler(request)
        asked = await request.app.router.resolve(request.clone(method=hdrs.METH_GET))
        if not _may_be_read(request, asked):
            return await handler(request)
        return web.Response(status=204, headers={**cors.headers[origin], **_PREFLIGHT})

    return answer


def _may_be_read(request: web.Request, found: web.UrlMappingMatchInfo) -> bool:
    # The route decides, not the path: a path can be written in several ways. That a path has none may be known.
    resource = found.route.resource
    if resource is None:
        return isinstance(found.http_exception, web.HTTPNotFound) and not request.path.startswith(KEPT_FROM_OTHERS)
    return not resource.canonical.startswith(KEPT_FROM_OTHERS)
