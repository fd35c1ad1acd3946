"""One order's trace, from its message's header to the row, the logs, the command, HTTP and the dead letters."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from engine.telemetry.trace_context import new_traceparent, trace_id_of
from handlers.body import render_body
from handlers.cache import OrderCache, versioned_trace
from handlers.cache_servers import OneServer
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import eventually, settled
from tests.support.letters import message, replayed
from tests.support.lookup_server import LookupServer, lookup_server
from tests.support.programs import Programs, Running
from tests.support.stored_orders import STORED_AT, make_order
from tests.support.topic import receive, send


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[LookupServer]:
    async with lookup_server(settings) as running:
        yield running


async def looked_up(server: LookupServer, order_uid: str, **headers: str) -> dict[str, Any]:
    """Look an order up and return the access line."""
    with capture_logs() as lines:
        async with server.client.get(f"/order/{order_uid}", headers=headers) as answer:
            assert answer.status == 200
            assert b"trace" not in await answer.read()
        await eventually(lambda: _first(lines), bool)
    [line] = [line for line in lines if line["event"] == "http_request"]
    return dict(line)


async def _first(lines: list[Any]) -> bool:
    return any(line["event"] == "http_request" for line in lines)


async def test_a_message_s_trace_is_found_wherever_its_order_goes(
    engine: Running,
    orderflow: Programs,
    orders: OrderGenerator,
    settings: Settings,
    database: asyncpg.Connection,
    redis: Redis,
    server: LookupServer,
) -> None:
    """In the row, the engine's log, the command, the story, and the access lines of a hit and of a miss."""
    order, plain = orders.order(), orders.order()
    traceparent, asked = new_traceparent(), new_traceparent()
    trace_id, uid = trace_id_of(traceparent), order["order_uid"]
    await send(settings, message(order), partition=1, headers=[("traceparent", traceparent.encode())])
    await send(settings, message(plain), partition=1, headers=[("traceparent", b"00-no-such-thing")])
    await eventually(lambda: database.fetchval("SELECT count(*) FROM orders"), (2).__eq__)
    rows = dict(await database.fetch("SELECT order_uid, traceparent FROM orders"))
    assert rows == {uid: traceparent, plain["order_uid"]: None}

    lines = engine.seen("orders_committed")
    [line] = [line for line in lines if trace_id in (line.get("trace_ids") or ())]
    assert dict(zip(line["order_uids"], line["trace_ids"], strict=True))[uid] == trace_id
    assert all(any(line["trace_ids"]) for line in lines if "trace_ids" in line)

    told = json.loads((await orderflow.run("trace", uid, "--json")).stdout)
    assert told["trace_id"] == trace_id
    assert trace_id in (await orderflow.run("trace", uid)).stdout
    async with server.client.get(f"/order/{uid}/story") as answer:
        assert (await answer.json())["trace_id"] == trace_id
    async with server.client.get(f"/order/{plain['order_uid']}/story") as answer:
        assert (await answer.json())["trace_id"] is None

    await eventually(lambda: redis.exists(f"order:{uid}"), (1).__eq__)
    hit = await looked_up(server, uid, traceparent=asked)
    assert (hit["x_cache"], hit["order_trace_id"], hit["trace_id"]) == ("hit", trace_id, trace_id_of(asked))
    assert 0 < await redis.ttl(f"order-trace:{uid}") <= settings.redis_ttl_s
    assert not await redis.exists(f"order-trace:{plain['order_uid']}")
    await redis.flushdb()
    miss = await looked_up(server, uid, traceparent="00-not-hexadecimal")
    assert (miss["x_cache"], miss["order_trace_id"], miss.get("trace_id")) == ("miss", trace_id, None)
    await eventually(lambda: redis.exists(f"order:{uid}"), (1).__eq__)
    filled = await looked_up(server, uid)
    assert (filled["x_cache"], filled["order_trace_id"], filled.get("trace_id")) == ("hit", trace_id, None)
    untraced = await looked_up(server, plain["order_uid"])
    assert not {"order_trace_id", "trace_id"} & untraced.keys()


async def test_a_changed_order_does_not_show_the_trace_of_the_version_before(
    engine: Running, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection, server: LookupServer
) -> None:
    """Nor does an equal repeat bring its own: the trace is that of the message that is stored."""
    order, first, repeat = orders.order(), new_traceparent(), new_traceparent()
    uid = order["order_uid"]
    await send(settings, message(order), partition=1, headers=[("traceparent", first.encode())])
    await settled(engine, database, 1)
    await send(settings, message(order), partition=1, headers=[("traceparent", repeat.encode())])
    await settled(engine, database, 2)
    assert [line["trace_ids"] for line in engine.seen("orders_committed")] == [
        [trace_id_of(first)],
        [trace_id_of(repeat)],
    ]
    line = await looked_up(server, uid)
    assert (line["x_cache"], line["order_trace_id"]) == ("hit", trace_id_of(first))

    await send(settings, message(order, sm_id=7), partition=1)
    await settled(engine, database, 3)
    line = await looked_up(server, uid)
    assert (line["x_cache"], line.get("order_trace_id")) == ("hit", None)
    assert await database.fetchval("SELECT traceparent FROM orders") is None


async def test_a_dead_letter_keeps_its_trace_through_topic_and_replay(
    engine: Running, orderflow: Programs, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection
) -> None:
    """So does the order that it becomes in the end; the rejection is logged with it."""
    traceparent, state = new_traceparent(), b"vendor=1"
    headers = [("x-own", b"kept"), ("traceparent", traceparent.encode()), ("tracestate", state)]
    await database.execute("ALTER TABLE orders ADD CONSTRAINT none_yet CHECK (false)")
    [(partition, offset)] = await send(settings, message(orders.order()), headers=headers)
    [letter] = await receive(settings, settings.kafka_dlq_topic, 1)
    assert dict(letter.headers)["traceparent"] == traceparent.encode()
    assert dict(letter.headers)["tracestate"] == state
    [rejected] = engine.seen("order_rejected")
    assert rejected["trace_id"] == trace_id_of(traceparent)

    await database.execute("ALTER TABLE orders DROP CONSTRAINT none_yet")
    await replayed(orderflow, f"{partition}:{offset}")
    await eventually(lambda: database.fetchval("SELECT traceparent FROM orders"), traceparent.__eq__)


async def test_a_late_fill_takes_no_trace_away(redis: Redis, orders: OrderGenerator) -> None:
    """An answer that was read before a change arrives after it, with the trace of then."""
    order = make_order(orders)
    older, newer = (render_body(order, STORED_AT, STORED_AT + timedelta(seconds=number)) for number in (0, 1))
    first, second = new_traceparent(), new_traceparent()
    cache, uid = OrderCache(OneServer(redis), 60), order.order_uid
    await cache.put_many([(uid, newer)], [(uid, versioned_trace(newer, second))])
    await cache.put_many([(uid, older)], [(uid, versioned_trace(older, first))])
    found = await cache.get_many([uid, "unknown"])
    assert (found, found.traces) == ({uid: newer}, {uid: second})
