"""A small program that answers `GET /order/{uid}`, for the benchmark to run beside our server: ADDRESS DSN."""

import sys

import asyncpg
from aiohttp import web

from handlers.reader import fetch_bodies


async def _application(dsn: str) -> web.Application:
    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=4)

    async def get_order(request: web.Request) -> web.Response:
        uid = request.match_info["uid"]
        bodies = await fetch_bodies(pool, [uid])
        if uid not in bodies:
            return web.json_response({"error": "order_not_found"}, status=404)
        return web.Response(body=bodies[uid], content_type="application/json")

    application = web.Application()
    application.router.add_get("/order/{uid}", get_order)
    return application


if __name__ == "__main__":
    host, port = sys.argv[1].split(":")
    web.run_app(_application(sys.argv[2]), host=host, port=int(port), access_log=None, print=None)
