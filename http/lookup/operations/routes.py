"""The routes of live operations: a stream of snapshots, a single snapshot, and metrics."""

from aiohttp import web
from msgspec import json

from lookup.operations.broadcast import Broadcast, Listener, TooManyListeners
from lookup.serving.answers import error_answer
from lookup.serving.metrics import CONTENT_TYPE, METRICS

OPERATIONS = web.AppKey("operations", Broadcast)
RECONNECT_MS = 1000
FULL_RETRY_S = 5
SEND_DEADLINE_S = 10.0
_HEADERS = {
    "Content-Type": "text/event-stream",
    # A proxy that buffers events would deliver them late, and so would most of those that compress them.
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}


async def get_snapshot(request: web.Request) -> web.Response:
    """Answer `GET /operations/snapshot`: the state of the system as JSON, once, for scripts."""
    snapshot = await _newest(request)
    if snapshot is None:
        return _full()
    return web.Response(body=snapshot, content_type="application/json", headers={"Cache-Control": "no-store"})


async def get_metrics(request: web.Request) -> web.Response:
    """Answer `GET /metrics`: the snapshot and this server's own counters, for Prometheus."""
    snapshot = await _newest(request)
    if snapshot is None:
        return _full()
    body = request.app[METRICS].render(json.decode(snapshot))
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})


async def get_events(request: web.Request) -> web.StreamResponse:
    """Answer `GET /operations/events`: about one snapshot per second, as server-sent events, until either side ends.

    A slow reader misses snapshots. One that reads nothing for `SEND_DEADLINE_S` is disconnected. 503 with too many
    listeners.
    """
    try:
        listener = request.app[OPERATIONS].listen()
    except TooManyListeners:
        return _full()
    with listener:
        stream = web.StreamResponse(headers=_HEADERS)
        await stream.prepare(request)
        try:
            await _pass_on(listener, stream)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # the client has disconnected
    return stream


async def _pass_on(listener: Listener, stream: web.StreamResponse) -> None:
    await stream.write(b"retry: %d\n\n" % RECONNECT_MS)
    while (snapshot := await listener.next()) is not None:
        async with listener.taking(SEND_DEADLINE_S):
            await stream.write(b"data: " + snapshot + b"\n\n")


async def _newest(request: web.Request) -> bytes | None:
    try:
        with request.app[OPERATIONS].listen() as listener:
            return await listener.next()
    except TooManyListeners:
        return None


def _full() -> web.Response:
    return error_answer("too_many_listeners", 503, {"Retry-After": str(FULL_RETRY_S)})


def add_operations_routes(application: web.Application) -> None:
    """Add the routes, and end the streams when the server begins to stop: it waits for every open answer."""
    application.router.add_get("/operations/events", get_events, allow_head=False)
    application.router.add_get("/operations/snapshot", get_snapshot)
    application.router.add_get("/metrics", get_metrics)
    application.on_shutdown.append(_end_streams)


async def _end_streams(application: web.Application) -> None:
    await application[OPERATIONS].close()
