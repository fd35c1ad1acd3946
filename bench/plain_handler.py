"""The plain handler: one GET from Redis and, after a miss, one SELECT. A simple first implementation, on uvloop.

    python -m bench.plain_handler PROCESSES      (address and stores are those of the environment)

It reads orderflow's tables, lets PostgreSQL create the JSON, logs no requests and does not fill the cache. All of this
makes it faster.
"""

import asyncio
import os
import signal
import sys

import asyncpg
import uvloop
from aiohttp import web

from orderflow.start.connections import postgres_options, redis_client
from orderflow.start.settings import Settings, load_settings

LISTENING = "http_listening"
_CONNECTIONS = 10
_SELECT = """
SELECT json_build_object(
    'order_uid', o.order_uid, 'track_number', o.track_number, 'entry', o.entry,
    'delivery', row_to_json(delivery), 'payment', row_to_json(payment),
    'items', (
        SELECT json_agg(json_build_object(
            'chrt_id', chrt_id, 'track_number', track_number, 'price', price, 'rid', rid, 'name', name, 'sale', sale,
            'size', size, 'total_price', total_price, 'nm_id', nm_id, 'brand', brand, 'status', status
        ) ORDER BY position)
        FROM order_items WHERE order_uid = o.order_uid
    ),
    'locale', o.locale, 'internal_signature', o.internal_signature, 'customer_id', o.customer_id,
    'delivery_service', o.delivery_service, 'shardkey', o.shardkey, 'sm_id', o.sm_id, 'date_created', o.date_created,
    'oof_shard', o.oof_shard, 'created_at', o.created_at, 'updated_at', o.updated_at
)::text
FROM orders o,
LATERAL (SELECT delivery_name AS name, delivery_phone AS phone, delivery_zip AS zip, delivery_city AS city,
                delivery_address AS address, delivery_region AS region, delivery_email AS email) AS delivery,
LATERAL (SELECT payment_transaction AS transaction, payment_request_id AS request_id, payment_currency AS currency,
                payment_provider AS provider, payment_amount AS amount, payment_dt, payment_bank AS bank,
                payment_delivery_cost AS delivery_cost, payment_goods_total AS goods_total,
                payment_custom_fee AS custom_fee) AS payment
WHERE o.order_uid = $1
"""


async def _serve(settings: Settings) -> None:
    redis = redis_client(settings)
    pool = await asyncpg.create_pool(**postgres_options(settings), min_size=_CONNECTIONS, max_size=_CONNECTIONS)

    async def get_order(request: web.Request) -> web.Response:
        uid = request.match_info["order_uid"]
        body = await redis.get(f"order:{uid}")
        if body is None:
            found = await pool.fetchval(_SELECT, uid)
            if found is None:
                return web.json_response({"error": "order_not_found"}, status=404)
            body = found.encode()
        return web.Response(body=body, content_type="application/json")

    application = web.Application()
    application.router.add_get("/order/{order_uid}", get_order)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        address = settings.http_address
        await web.TCPSite(runner, address.host, address.port, reuse_port=True).start()
        print(LISTENING, flush=True)
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
    finally:
        await runner.cleanup()
        pool.terminate()
        await redis.aclose()


def main() -> None:
    """Serve with the number of processes in the first argument. The first process stops the others."""
    settings = load_settings()
    others = []
    for _ in range(int(sys.argv[1]) - 1):
        child = os.fork()
        if child == 0:
            break
        others.append(child)
    uvloop.run(_serve(settings))
    for child in others:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
