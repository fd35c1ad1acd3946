"""Live operations over HTTP: what a snapshot says, and how streams of them begin, go on and end. On real services."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientResponse, ClientSession
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from lookup.operations.store import _RATES
from msgspec import json
from redis.asyncio import Redis

from engine.kafka.lag import Position
from engine.kafka.topic_offsets import EARLIEST, TopicOffsets
from orderflow.publishing.orders import OrderGenerator
from orderflow.services import ServiceSet
from orderflow.services.process import signal_all
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings
from tests.support.eventually import consumed, eventually
from tests.support.lookup_server import LookupServer, lookup_server
from tests.support.programs import Programs, Running
from tests.support.stored_orders import make_order, store_order
from tests.support.topic import send
from tests.support.worker_reports import fetch_worker_reports

LISTENERS = 3
WORKER = """
INSERT INTO workers VALUES ($1, 'worker-0', 'host', 7, $2, '{0,1}', 2, now(), now() - make_interval(secs => $3), $4)
"""
BATCH = """
INSERT INTO batches (batch_id, consumer_group, topic, worker, host, sources, consumed_at, validated_at, committed_at,
                     cached_at, messages, inserted, changed, unchanged, rejected)
SELECT gen_random_uuid(), $1, $2, 'worker-0', 'host', '[]', at - interval '20 ms', at, at, at + interval '5 ms',
       10, 9, 0, 0, 1
FROM (SELECT now() - step * $3::interval AS at FROM generate_series(1, $4::integer) AS step) AS moments
"""


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[LookupServer]:
    async with lookup_server(settings, operations_max_listeners=LISTENERS) as running:
        yield running


async def snapshot(server: LookupServer) -> dict[str, Any]:
    async with server.client.get("/operations/snapshot") as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        found: dict[str, Any] = await answer.json()
        return found


@asynccontextmanager
async def stream(client: ClientSession) -> AsyncIterator[ClientResponse]:
    async with client.get("/operations/events") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert await answer.content.readline() == b"retry: 1000\n"
        assert await answer.content.readline() == b"\n"
        yield answer


async def event(answer: ClientResponse) -> dict[str, Any]:
    """Return the next event of a stream, waiting for it."""
    line = await answer.content.readline()
    assert line.startswith(b"data: "), line
    assert await answer.content.readline() == b"\n"
    found: dict[str, Any] = json.decode(line.removeprefix(b"data: "))
    return found


async def event_where(answer: ClientResponse, wanted: Any) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while not wanted(found := await event(answer)):
            pass
    return found


def states(found: dict[str, Any]) -> dict[str, str]:
    return {name: part["status"] for name, part in found["services"].items()}


async def test_a_snapshot_tells_all_there_is_to_know(
    server: LookupServer, engine: Running, settings: Settings, orders: OrderGenerator, database: asyncpg.Connection
) -> None:
    """Services, the worker with what it has done, no lag in any partition, and the batch in a bucket of time."""
    order = orders.order()
    [(partition, _)] = await send(settings, (b"key", json.encode(order)))
    await send(settings, (b"bad", b"no order"))
    await consumed(database, 2)

    found = await eventually(
        lambda: snapshot(server), lambda found: bool(found["workers"]) and found["workers"][0]["counters"]["cached"] > 0
    )
    assert states(found) == dict.fromkeys(("postgresql", "redis", "kafka", "engine", "dead_letters"), "ok")
    [worker] = found["workers"]
    assert (worker["worker"], worker["state"], worker["partitions"]) == ("worker-0", "idle", [0, 1, 2, 3])
    assert (worker["restarts"], worker["refused"], worker["outages"]) == (0, {}, {})
    assert (worker["counters"]["messages"], worker["counters"]["rejected"]) == (2, 1)
    assert 0 <= worker["since_commit_s"] < 30
    assert worker["heartbeat_age_s"] < 2.5
    assert worker["memory_peak_kib"] > 1000
    assert datetime.fromisoformat(worker["started_at"]) < datetime.fromisoformat(found["at"])
    assert [(lag["partition"], lag["lag"], lag["lag_s"]) for lag in found["partitions"]] == [
        (number, 0, 0.0) for number in range(4)
    ]
    assert found["partitions"][partition]["end_offset"] > 0

    found = await eventually(lambda: snapshot(server), lambda found: sum(found["rates"]["committed"]) > 0)
    rates = found["rates"]
    assert rates["bucket_s"] * sum(rates["committed"]) == 1
    assert rates["bucket_s"] * sum(rates["rejected"]) == 1
    assert [value for value in rates["commit_ms"] if value is not None]
    assert order["delivery"]["name"] not in str(found)


async def test_the_lag_is_known_in_messages_and_seconds(
    server: LookupServer, settings: Settings, orders: OrderGenerator, database: asyncpg.Connection
) -> None:
    """A partition that nobody consumed counts from its beginning; one with an offset from there, and from when."""
    places = await send(settings, *((b"%d" % number, json.encode(orders.order())) for number in range(30)))
    lengths = [sum(place[0] == number for place in places) for number in range(4)]
    found = await eventually(lambda: snapshot(server), lambda found: len(found["partitions"]) == len(lengths))
    assert [lag["lag"] for lag in found["partitions"]] == lengths
    assert all(0 <= lag["lag_s"] < 20 for lag in found["partitions"] if lag["lag"])

    position = Position(lengths[0] - 1, int(datetime.now().timestamp() * 1000) - 90_000)
    await database.execute(
        "INSERT INTO consumed_offsets (consumer_group, topic, partition, next_offset, last_timestamp) "
        "VALUES ($1, $2, 0, $3, $4)",
        settings.kafka_group_id,
        settings.kafka_topic,
        position.next_offset,
        position.last_timestamp,
    )
    found = await eventually(lambda: snapshot(server), lambda found: found["partitions"][0]["lag"] == 1)
    first = found["partitions"][0]
    assert (first["next_offset"], first["end_offset"]) == (lengths[0] - 1, lengths[0])
    assert first["lag_s"] < 30, "the message that waits was produced long after the one before it"


async def test_a_worker_that_is_dead_or_silent_is_shown_as_dead_and_one_long_gone_is_not(
    server: LookupServer, database: asyncpg.Connection
) -> None:
    for worker_id, state, age_s in (("a", "dead", 0), ("b", "idle", 4), ("c", "idle", 90), ("d", "idle", 0)):
        await database.execute(WORKER, worker_id, state, age_s, "{}")
    found = {worker["worker_id"]: worker for worker in (await snapshot(server))["workers"]}
    assert {worker_id: worker["state"] for worker_id, worker in found.items()} == {
        "a": "dead",
        "b": "dead",
        "d": "idle",
    }
    assert (found["b"]["partitions"], found["d"]["partitions"]) == ([], [0, 1])
    assert found["d"]["restarts"] == 2
    async with server.client.get("/healthz") as answer:
        engine = (await answer.json())["checks"]["engine"]
    assert (engine["status"], engine["workers"], engine["hosts"]) == ("ok", {"dead": 2, "idle": 1}, {"host": 1})


async def test_a_frozen_worker_is_dead_wherever_workers_are_told_of(engine: Running, server: LookupServer) -> None:
    """Within three seconds or so: on the page, in the engine's state there, in `/healthz` and in `/metrics`."""
    url = f"http://127.0.0.1:{server.port}"
    await eventually(lambda: fetch_worker_reports(url), lambda found: len(found.by_host() or {}) == 1)
    signal_all(engine.children, signal.SIGSTOP)
    began = perf_counter()
    found = await eventually(lambda: fetch_worker_reports(url), lambda found: found.living == [])
    found = await eventually(lambda: fetch_worker_reports(url), lambda found: found.by_host() == {}, timeout_s=2)
    assert perf_counter() - began < 6
    for part in (found.health["checks"]["engine"], found.snapshot["services"]["engine"]):
        assert (part["status"], part["error"]) == ("unavailable", "no worker works: 1 dead")
    signal_all(engine.children, signal.SIGCONT)
    await eventually(lambda: fetch_worker_reports(url), lambda found: found.health["status"] == "ok")


async def test_workers_of_another_pipeline_are_not_shown(server: LookupServer, database: asyncpg.Connection) -> None:
    for worker_id in ("ours", "theirs"):
        await database.execute(WORKER, worker_id, "idle", 0, "{}")
    await database.execute("UPDATE workers SET consumer_group = 'page-views-writer' WHERE worker_id = 'theirs'")
    assert [worker["worker_id"] for worker in (await snapshot(server))["workers"]] == ["ours"]


async def test_what_troubles_a_worker_is_told(server: LookupServer, database: asyncpg.Connection) -> None:
    broken = {"offset": 7, "reason": "corrupt_batch", "detail": "a checksum is wrong", "fix": "orderflow offsets skip"}
    details = {"outages_now": {"redis": 4}, "refused": {"1": broken}, "since_commit_s": 12.5}
    await database.execute(WORKER, "w", "running", 1, json.encode(details).decode())
    [worker] = (await snapshot(server))["workers"]
    assert (worker["outages"], worker["refused"]) == ({"redis": 4}, {"1": broken})
    assert 13.5 <= worker["since_commit_s"] < 16


async def test_rates_cover_five_minutes_of_this_consumer(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Ten messages a second, one of them rejected; what is older, or another group's, is not in it."""
    await database.execute(BATCH, settings.kafka_group_id, settings.kafka_topic, timedelta(seconds=1), 400)
    await database.execute(BATCH, "another", settings.kafka_topic, timedelta(seconds=1), 400)
    for _ in range(2):
        rates = (await snapshot(server))["rates"]
        assert len(rates["committed"]) == 150
        assert set(rates["committed"][1:-1]) == {9}
        assert set(rates["rejected"][1:-1]) == {1}
        assert set(rates["commit_ms"]) == {20}
        assert set(rates["cache_ms"]) == {5}


async def test_rates_read_no_batch_that_is_older(settings: Settings, database: asyncpg.Connection) -> None:
    """Among 100,000 batches: only those of the time that is asked for, by the index."""
    await database.execute(BATCH, settings.kafka_group_id, settings.kafka_topic, timedelta(seconds=1), 100_000)
    await database.execute("ANALYZE batches")
    for age_s in (10, 300):
        since = await database.fetchval("SELECT extract(epoch FROM now())::float8 - $1::float8", age_s)
        [plan] = await database.fetch(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {_RATES}", settings.kafka_group_id, settings.kafka_topic, since, 2
        )
        scan = json.decode(plan[0])[0]["Plan"]
        while scan.get("Relation Name") != "batches":
            scan = scan["Plans"][0]
        assert scan.get("Index Name") == "batches_of_a_group_idx"
        assert scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0) <= age_s + 1


async def test_an_event_comes_every_second(server: LookupServer) -> None:
    async with stream(server.client) as answer:
        first = await event(answer)
        began = perf_counter()
        moments = [datetime.fromisoformat((await event(answer))["at"]) for _ in range(3)]
        assert 2 < perf_counter() - began < 5
        assert sorted({datetime.fromisoformat(first["at"]), *moments}) == [
            datetime.fromisoformat(first["at"]),
            *moments,
        ]


async def test_listeners_are_bounded_and_one_that_leaves_makes_room(server: LookupServer) -> None:
    """One more gets 503 and when to come again; all share one connection to PostgreSQL."""
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(stream(server.client)) for _ in range(LISTENERS)]
        for path in ("/operations/events", "/operations/snapshot"):
            async with server.client.get(path) as answer:
                assert (answer.status, await answer.json()) == (503, {"error": "too_many_listeners"})
                assert int(answer.headers["Retry-After"]) > 0
        told = await asyncio.gather(*(event(answer) for answer in streams))
        assert len({found["at"] for found in told}) == 1
        streams[0].close()

        async def ask() -> int:
            async with server.client.get("/operations/snapshot") as answer:
                return answer.status

        await eventually(ask, lambda status: status == 200)


async def test_without_postgresql_the_stream_goes_on_and_says_so(
    server: LookupServer, database: asyncpg.Connection
) -> None:
    """Down or frozen: what is not known is null, the other services are still looked at; later all is as before."""
    await database.execute(WORKER, "w", "idle", 0, "{}")
    async with stream(server.client) as answer:
        assert states(await event(answer))["postgresql"] == "ok"
        for trouble in (server.postgres.shut, server.postgres.hold):
            if (started := trouble()) is not None:
                await started
            found = await event_where(answer, lambda found: states(found)["postgresql"] != "ok")
            assert (states(found)["redis"], states(found)["kafka"]) == ("ok", "ok")
            found = await event_where(answer, lambda found: found["workers"] is None)
            assert (found["partitions"], found["rates"]) == (None, None)
            began = perf_counter()
            await event(answer)
            await event(answer)
            assert perf_counter() - began < 3
            await server.postgres.open()
            await event_where(answer, lambda found: found["workers"] and states(found)["postgresql"] == "ok")


async def test_without_kafka_the_lag_is_unknown(
    server: LookupServer, settings: Settings, database: asyncpg.Connection, services: ServiceSet
) -> None:
    await database.execute(
        "INSERT INTO consumed_offsets (consumer_group, topic, partition, next_offset) VALUES ($1, $2, 0, 0)",
        settings.kafka_group_id,
        settings.kafka_topic,
    )
    broker = next(service for service in services.services if service.name == "kafka")
    async with stream(server.client) as answer:
        await event_where(answer, lambda found: found["partitions"][0]["lag"] == 0)
        broker.freeze()
        found = await event_where(answer, lambda found: states(found)["kafka"] != "ok")
        assert [(lag["partition"], lag["lag"], lag["lag_s"]) for lag in found["partitions"]] == [(0, None, None)]
        assert found["workers"] == []
        broker.thaw()
        await event_where(answer, lambda found: [lag["lag"] for lag in found["partitions"]] == [0] * 4)


async def test_a_stream_that_hangs_delays_no_lookup(
    server: LookupServer, database: asyncpg.Connection, redis: Redis
) -> None:
    """Its query waits for a lock on its own connection, and is given up."""
    await store_order(database, make_order(OrderGenerator(6), order_uid="uid"))
    async with server.client.get("/order/uid") as answer:
        assert answer.status == 200
    await eventually(lambda: redis.exists("order:uid"), bool)
    async with stream(server.client) as watched:
        await event(watched)
        async with database.transaction():
            await database.execute("LOCK batches IN ACCESS EXCLUSIVE MODE")
            await event_where(watched, lambda found: found["rates"] is None)
            for uid, status in (("uid", 200), ("nobody", 404)) * 10:
                began = perf_counter()
                async with server.client.get(f"/order/{uid}") as answer:
                    assert answer.status == status
                assert perf_counter() - began < 0.3
        await event_where(watched, lambda found: found["rates"] is not None)


@asynccontextmanager
async def stalled(server: LookupServer, database: asyncpg.Connection) -> AsyncIterator[asyncio.StreamReader]:
    """Listen with snapshots so large that no buffer on the way holds many, and read nothing until the end."""
    for number in range(400):
        await database.execute(
            WORKER, f"worker-{number}", "idle", -3600, json.encode({"refused": {"0": "x" * 500}}).decode()
        )
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(b"GET /operations/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    try:
        yield reader
    finally:
        writer.transport.abort()


async def test_who_reads_nothing_is_cut_off_and_holds_up_nobody(
    settings: Settings, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets far less than was made meanwhile: what it does not take is not kept for it."""
    monkeypatch.setattr("lookup.operations.routes.SEND_DEADLINE_S", 1.0)
    async with (
        lookup_server(settings, operations_every_s=0.01, operations_max_listeners=2) as server,
        stalled(server, database) as reader,
        stream(server.client) as answer,
    ):
        made = 0

        async def watch() -> None:
            nonlocal made
            while True:
                made += len(await answer.content.readline())

        watching = asyncio.create_task(watch())

        async def ask() -> int:
            async with server.client.get("/operations/snapshot") as other:
                return other.status

        assert await ask() == 503
        await eventually(ask, lambda status: status == 200)
        watching.cancel()
        taken = 0
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                taken += len(chunk)
        assert taken < made / 2


async def test_a_listener_who_reads_nothing_does_not_hold_up_the_end(
    settings: Settings, database: asyncpg.Connection
) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(lookup_server(settings, operations_every_s=0.01))
        async with stalled(server, database), stream(server.client) as answer:
            for _ in range(60):
                await event(answer)
            began = perf_counter()
            await stack.aclose()
            assert perf_counter() - began < 1.5


async def test_the_end_of_the_server_ends_its_streams_at_once(orderflow: Programs) -> None:
    """Cleanly: the stream has an end, and the server does not wait for listeners who would stay for ever."""
    server = await orderflow.start("serve")
    url = (await server.wait_for("http_listening"))["url"]
    async with ClientSession(url) as client, stream(client) as one, stream(client) as other:
        await asyncio.gather(event(one), event(other))
        began = perf_counter()
        server.send_signal(signal.SIGTERM)
        for answer in (one, other):
            await answer.content.read()
        assert await server.ended(5) == 0
        assert perf_counter() - began < 2


async def test_offsets_are_asked_for_without_making_a_topic(settings: Settings, database: asyncpg.Connection) -> None:
    """A topic that is missing is an error; one that is there has a beginning and an end, empty or not."""
    offsets = TopicOffsets(kafka_options(settings), settings.kafka_topic, 5)
    missing = TopicOffsets(kafka_options(settings), f"{settings.kafka_topic}-missing", 5)

    async def ends() -> dict[int, int] | None:
        try:
            return await offsets.fetch()
        except KafkaError:
            return None  # a partition of a new topic may not have its leader yet

    try:
        empty = dict.fromkeys(range(4), 0)
        assert await eventually(ends, lambda found: found is not None) == await offsets.fetch(EARLIEST) == empty
        [(partition, _)] = await send(settings, (b"key", b"value"))
        assert (await offsets.fetch())[partition] == 1
        for _ in range(2):
            with pytest.raises(UnknownTopicOrPartitionError):
                await missing.fetch()
    finally:
        await offsets.close()
        await missing.close()
