"""The routes of orders and health: one order, its story, lists of orders, and the three health checks."""

import time

from aiohttp import web

from lookup.operations.health import Health, render_health
from lookup.orders.lookup import OrderLookup
from lookup.orders.search import OrderSearch
from lookup.orders.search_query import parse_search
from lookup.orders.story import OrderStories
from lookup.orders.uid import parse_order_uid
from lookup.serving.access_log import ORDER_TRACE, ORDER_UID
from lookup.serving.answers import error_answer, json_answer
from lookup.serving.cursor import render_cursor
from lookup.serving.query_parameters import KEY_RULE

LOOKUP = web.AppKey("lookup", OrderLookup)
SEARCH = web.AppKey("search", OrderSearch)
STORIES = web.AppKey("stories", OrderStories)
HEALTH = web.AppKey("health", Health)


async def get_order(request: web.Request) -> web.Response:
    """Answer `GET /order/{order_uid}`: the stored bytes, 404, or 400. Raises `StoresUnavailable`."""
    began = time.perf_counter()
    order_uid = parse_order_uid(request.rel_url.raw_path)
    if order_uid is None:
        return error_answer("invalid_order_uid", 400, allowed=KEY_RULE)
    result = await request.app[LOOKUP].find(order_uid)
    headers = {"Server-Timing": f"total;dur={(time.perf_counter() - began) * 1000:.3f}"}
    if result.body is None:
        return error_answer("order_not_found", 404, headers)
    request[ORDER_UID] = order_uid  # only known uids are logged: an unknown one may be any text that a person typed
    if result.traceparent is not None:
        request[ORDER_TRACE] = result.traceparent
    headers |= {"X-Cache": "hit" if result.cached else "miss", "Cache-Control": "no-store"}
    return web.Response(body=result.body, content_type="application/json", headers=headers)


async def get_story(request: web.Request) -> web.Response:
    """Answer `GET /order/{order_uid}/story`: the order's processing steps, 404, or 400. Raises `StoresUnavailable`."""
    order_uid = parse_order_uid(request.rel_url.raw_path.rpartition("/")[0])
    if order_uid is None:
        return error_answer("invalid_order_uid", 400, allowed=KEY_RULE)
    story = await request.app[STORIES].find(order_uid)
    if story is None:
        return error_answer("order_not_found", 404)
    request[ORDER_UID] = order_uid
    return json_answer(story)


async def get_orders(request: web.Request) -> web.Response:
    """Answer `GET /orders`: one page of a list, newest first. Raises `WrongParameter` and `StoresUnavailable`."""
    page = await request.app[SEARCH].find(parse_search(request.rel_url.raw_query_string))
    after = None if page.next is None else render_cursor(page.next)
    return json_answer({"orders": page.orders, "next": after, "future": page.future})


async def get_health(request: web.Request) -> web.Response:
    """Answer `GET /healthz`, for people and alerts: 200 when every part of the system is healthy, else 503.

    The body says which part is not: PostgreSQL, Redis, Kafka, the engine (no worker works, or a partition is refused),
    or the dead letters (they wait too long for the dead-letter topic).
    """
    parts = await request.app[HEALTH].examine()
    return json_answer(render_health(parts), 200 if all(part.healthy for part in parts) else 503)


async def get_liveness(request: web.Request) -> web.Response:
    """Answer `GET /livez`, for process supervisors: 200 when this process answers and its lookup actors run."""
    alive = request.app[LOOKUP].alive
    return json_answer({"status": "ok" if alive else "unavailable"}, 200 if alive else 503)


async def get_readiness(request: web.Request) -> web.Response:
    """Answer `GET /readyz`, for load balancers: 200 when lookups can be answered from at least one store.

    The engine, Kafka and dead letters do not count: stored orders can be looked up without them.
    """
    parts = await request.app[HEALTH].examine("postgresql", "redis")
    ready = request.app[LOOKUP].alive and any(part.answers for part in parts)
    return json_answer({**render_health(parts), "status": "ok" if ready else "unavailable"}, 200 if ready else 503)


def add_routes(application: web.Application) -> None:
    """Add the routes to the application."""
    router = application.router
    # aiohttp's own pattern for a variable excludes braces, which a uid may hold.
    router.add_get("/order/{order_uid:[^/]+}", get_order)
    router.add_get("/order/{order_uid:[^/]+}/story", get_story)
    router.add_get("/orders", get_orders)
    router.add_get("/healthz", get_health)
    router.add_get("/livez", get_liveness)
    router.add_get("/readyz", get_readiness)
