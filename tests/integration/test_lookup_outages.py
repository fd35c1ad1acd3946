"""What the HTTP application answers while a store is away, frozen, or slow."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from handlers.model import Order
from orderflow.publishing.orders import OrderGenerator
from orderflow.services import ServiceSet
from orderflow.start.settings import Settings
from tests.support.lookup_server import LookupServer, both_ways, lookup_server
from tests.support.stored_orders import make_order, store_order

LOOKUP_DEADLINE_S = 1.5


@pytest.fixture
async def server(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[LookupServer]:
    async with lookup_server(
        settings,
        store_deadline_s=1.0,
        lookup_deadline_s=LOOKUP_DEADLINE_S,
        health_deadline_s=0.5,
        direct=getattr(request, "param", True),
    ) as running:
        yield running


class Answer:
    """What came back, and how many seconds it took."""

    def __init__(self, status: int, cache: str | None, body: bytes, duration_s: float) -> None:
        self.status, self.cache, self.body, self.duration_s = status, cache, body, duration_s


async def ask(server: LookupServer, order_uid: str) -> Answer:
    began = perf_counter()
    async with server.client.get(f"/order/{order_uid}") as answer:
        body = await answer.read()
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) > 0
        return Answer(answer.status, answer.headers.get("X-Cache"), body, perf_counter() - began)


async def until(server: LookupServer, order_uid: str, status: int, cache: str | None) -> Answer:
    """Ask until the answer is the wanted one; the time-out of the test is its limit."""
    async with asyncio.timeout(15):
        while True:
            answer = await ask(server, order_uid)
            if (answer.status, answer.cache) == (status, cache):
                return answer
            await asyncio.sleep(0.02)


async def stored(database: asyncpg.Connection, seed: int, count: int) -> list[tuple[Order, bytes]]:
    generator = OrderGenerator(seed)
    orders = [make_order(generator) for _ in range(count)]
    return [(order, await store_order(database, order)) for order in orders]


async def test_without_redis_postgresql_answers_and_redis_is_found_again(
    server: LookupServer, database: asyncpg.Connection, redis: Redis
) -> None:
    """A Redis that is down makes every lookup a miss; when it is back there are hits again."""
    (order, body), *_ = await stored(database, 11, 1)
    await until(server, order.order_uid, 200, "hit")
    await server.redis.shut()
    for _ in range(20):
        answer = await ask(server, order.order_uid)
        assert (answer.status, answer.cache, answer.body) == (200, "miss", body)
    assert (await ask(server, "nobody")).status == 404
    await server.redis.open()
    assert (await until(server, order.order_uid, 200, "hit")).body == body


async def test_a_frozen_redis_delays_one_lookup_and_no_other(
    server: LookupServer, database: asyncpg.Connection
) -> None:
    """Only the first lookups pay for the time-out; afterwards PostgreSQL is asked at once."""
    orders = await stored(database, 12, 31)
    await until(server, orders[0][0].order_uid, 200, "hit")
    server.redis.hold()
    assert (await ask(server, orders[0][0].order_uid)).status == 200
    answers = [await ask(server, order.order_uid) for order, _ in orders[1:]]
    assert {answer.status for answer in answers} == {200}
    assert max(answer.duration_s for answer in answers) < 0.2
    await server.redis.open()
    await until(server, orders[1][0].order_uid, 200, "hit")


@both_ways
async def test_without_postgresql_the_cache_answers_and_nothing_is_called_missing(
    server: LookupServer, database: asyncpg.Connection
) -> None:
    """A cached order is 200, any other 503: never 404 while nobody can know."""
    (cached, body), (cold, _) = await stored(database, 13, 2)
    await until(server, cached.order_uid, 200, "hit")
    await server.postgres.shut()
    assert (await ask(server, cached.order_uid)).body == body
    for order_uid in (cold.order_uid, "nobody"):
        answer = await ask(server, order_uid)
        assert (answer.status, answer.body) == (503, b'{"error":"unavailable"}')
    await server.postgres.open()
    await until(server, cold.order_uid, 200, "miss")
    assert (await ask(server, "nobody")).status == 404


@both_ways
async def test_a_frozen_postgresql_does_not_delay_the_cache(server: LookupServer, database: asyncpg.Connection) -> None:
    """Hits are answered at once while cold lookups wait for a store that is silent; those end at the deadline."""
    (cached, body), (cold, _) = await stored(database, 14, 2)
    await until(server, cached.order_uid, 200, "hit")
    server.postgres.hold()
    waiting = asyncio.gather(*(ask(server, cold.order_uid) for _ in range(20)))
    answers = [await ask(server, cached.order_uid) for _ in range(20)]
    assert {(answer.status, answer.body) for answer in answers} == {(200, body)}
    assert max(answer.duration_s for answer in answers) < 0.3
    late = await waiting
    assert {answer.status for answer in late} == {503}
    assert max(answer.duration_s for answer in late) < LOOKUP_DEADLINE_S + 0.5
    await server.postgres.open()
    await until(server, cold.order_uid, 200, "hit")


async def test_a_connection_that_died_while_idle_is_no_outage(
    server: LookupServer, database: asyncpg.Connection
) -> None:
    """PostgreSQL was restarted between two lookups: the second notices nothing."""
    (first, _), (second, body) = await stored(database, 15, 2)
    assert (await ask(server, first.order_uid)).status == 200
    await server.postgres.shut()
    await server.postgres.open()
    assert (await ask(server, second.order_uid)).body == body


async def test_a_connection_to_redis_that_died_while_idle_is_no_outage(
    server: LookupServer, database: asyncpg.Connection
) -> None:
    """Redis was restarted between two lookups: the second is answered from it all the same."""
    (order, body), *_ = await stored(database, 17, 1)
    await until(server, order.order_uid, 200, "hit")
    await server.redis.shut()
    await server.redis.open()
    answer = await ask(server, order.order_uid)
    assert (answer.cache, answer.body) == ("hit", body)


async def test_without_both_stores_the_server_lives_and_says_so(server: LookupServer) -> None:
    """503 for every order and for readiness; the process itself is fine."""
    await server.redis.shut()
    await server.postgres.shut()
    assert (await ask(server, "nobody")).status == 503
    statuses = {}
    for path in ("/livez", "/readyz", "/healthz", "/"):
        async with server.client.get(path) as answer:
            statuses[path] = answer.status
    assert statuses == {"/livez": 200, "/readyz": 503, "/healthz": 503, "/": 200}


async def test_either_store_makes_the_server_ready(server: LookupServer) -> None:
    """Readiness needs one store that answers."""
    await server.redis.shut()
    async with server.client.get("/readyz") as answer:
        assert answer.status == 200
    await server.redis.open()
    await server.postgres.shut()
    async with server.client.get("/readyz") as answer:
        assert answer.status == 200
        assert (await answer.json())["checks"]["postgresql"] == {"status": "unavailable", "error": "not reachable"}


async def test_nobody_gets_the_order_of_a_caller_who_left(server: LookupServer, database: asyncpg.Connection) -> None:
    """Half of the callers hang up behind a slow Redis; the others, and those who come later, get their own orders."""
    orders = await stored(database, 16, 40)
    for order, _ in orders:
        await until(server, order.order_uid, 200, "hit")
    for _ in range(5):
        server.redis.hold()
        lookups = [asyncio.create_task(ask(server, order.order_uid)) for order, _ in orders]
        await asyncio.sleep(0.02)
        for lookup in lookups[::2]:
            lookup.cancel()
        await asyncio.sleep(0.02)
        await server.redis.open()
        answers = await asyncio.gather(*lookups[1::2])
        assert [answer.body for answer in answers] == [body for _, body in orders[1::2]]
        again = await asyncio.gather(*(ask(server, order.order_uid) for order, _ in orders))
        assert [answer.body for answer in again] == [body for _, body in orders]


async def test_health_says_which_part_is_not_well(server: LookupServer, database: asyncpg.Connection) -> None:
    """200 needs all parts; a heartbeat that is too old, or of a worker in an outage, does not count."""

    async def health() -> tuple[int, dict[str, str]]:
        async with server.client.get("/healthz") as answer:
            text = await answer.text()
            assert "127.0.0.1" not in text
            checks = (await answer.json())["checks"]
            return answer.status, {name: check["status"] for name, check in checks.items()}

    well = dict.fromkeys(("postgresql", "redis", "kafka", "engine", "dead_letters"), "ok")
    assert await health() == (503, {**well, "engine": "unavailable"})
    await database.execute(
        "INSERT INTO workers VALUES ('w', 'worker-0', 'host', 1, 'running', '{0}', 0, now(), now() - interval '10 s')"
    )
    assert (await health())[0] == 503
    await database.execute("UPDATE workers SET heartbeat_at = now()")
    assert await health() == (200, well)
    await database.execute("UPDATE workers SET state = 'outage', heartbeat_at = now()")
    assert (await health())[0] == 503
    await database.execute("UPDATE workers SET state = 'retrying', heartbeat_at = now()")
    assert (await health())[0] == 200
    await database.execute("UPDATE workers SET state = 'idle', heartbeat_at = now()")
    await server.redis.shut()
    assert await health() == (503, {**well, "redis": "unavailable"})
    server.postgres.hold()
    began = perf_counter()
    status, checks = await health()
    assert (status, checks["postgresql"], checks["kafka"]) == (503, "unavailable", "ok")
    assert perf_counter() - began < 2


async def test_workers_of_another_pipeline_do_not_count(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """They share the database; whether orders are consumed is what their own workers say."""

    async def engine_is_well() -> bool:
        async with server.client.get("/healthz") as answer:
            return bool((await answer.json())["checks"]["engine"]["status"] == "ok")

    worker = "INSERT INTO workers VALUES ($1, 'worker-0', 'host', 1, $2, '{0}', 0, now(), now(), '{}', $3, $4)"
    own = (settings.kafka_group_id, settings.kafka_topic)
    await database.execute(worker, "theirs", "idle", "page-views-writer", "page-views")
    assert not await engine_is_well()
    await database.execute(worker, "ours", "idle", *own)
    await database.execute("""UPDATE workers SET details = '{"refused": {"3": "…"}}' WHERE worker_id = 'theirs'""")
    assert await engine_is_well()


async def test_health_says_when_a_partition_is_refused_or_dead_letters_wait(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Both want an operator, so both are 503, with what is needed to act; the process itself stays ready and alive."""

    async def check(path: str, part: str) -> tuple[int, Any]:
        async with server.client.get(path) as answer:
            return answer.status, (await answer.json()).get("checks", {}).get(part)

    await database.execute(
        "INSERT INTO workers VALUES ('w', 'worker-0', 'host', 1, 'idle', '{0,3}', 0, now(), now(), "
        """'{"refused": {"3": "it was deleted and created anew"}}')"""
    )
    status, engine = await check("/healthz", "engine")
    assert (status, engine["status"], engine["workers"]) == (503, "unavailable", {"idle": 1})
    assert engine["refused"] == {
        "3": {
            "offset": None,
            "reason": "topic_recreated",
            "detail": "it was deleted and created anew",
            "fix": "orderflow offsets reset",
        }
    }
    await database.execute("UPDATE workers SET details = '{}'")

    letter = (
        "INSERT INTO dead_letters (topic, partition, kafka_offset, reason, produced_at, failed_at, batch_id, "
        "consumer_group) VALUES ($1, 0, $2, 'invalid_json', now(), now() - $4::interval, gen_random_uuid(), $3)"
    )
    own = (settings.kafka_topic, settings.kafka_group_id)
    await database.execute(letter, own[0], 1, own[1], timedelta(seconds=2))
    status, letters = await check("/healthz", "dead_letters")
    assert (status, letters["status"], letters["waiting"]) == (200, "ok", 1)
    await database.execute(letter, own[0], 2, own[1], timedelta(minutes=2))
    await database.execute(letter, own[0], 3, "another group", timedelta(minutes=2))
    status, letters = await check("/healthz", "dead_letters")
    assert (status, letters["status"], letters["waiting"]) == (503, "unavailable", 2)
    oldest = await database.fetchval("SELECT failed_at FROM dead_letters WHERE kafka_offset = 2")
    assert datetime.fromisoformat(letters["since"]) == oldest
    assert [(await check(path, ""))[0] for path in ("/readyz", "/livez")] == [200, 200]
    await database.execute("UPDATE dead_letters SET published_at = now()")
    assert (await check("/healthz", "dead_letters"))[0] == 200


async def test_a_frozen_kafka_is_told_in_time_and_found_again(server: LookupServer, services: ServiceSet) -> None:
    """The check does not hang with the broker, and its next run begins anew."""

    async def kafka() -> str:
        async with server.client.get("/healthz") as answer:
            status: str = (await answer.json())["checks"]["kafka"]["status"]
            return status

    assert await kafka() == "ok"
    broker = next(service for service in services.services if service.name == "kafka")
    broker.freeze()
    began = perf_counter()
    assert await kafka() == "unavailable"
    assert perf_counter() - began < 2
    broker.thaw()
    async with asyncio.timeout(20):
        while True:
            if await kafka() == "ok":
                return
            await asyncio.sleep(0.1)
