"""Stories of orders, over HTTP and from the command line, on real services."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from yarl import URL

from handlers.story import MAX_LETTERS, fetch_story
from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import eventually, settled
from tests.support.letters import FAILED_AT, message, replayed, store_letter
from tests.support.lookup_server import LookupServer, lookup_server
from tests.support.many_orders import store_many
from tests.support.programs import Programs, Running
from tests.support.stored_orders import STORED_AT, make_order, store_order
from tests.support.stories import BATCH_ID, PRODUCED_AT, after_ms, store_batch, store_written_order
from tests.support.topic import send

DEADLINE_S = 1.0
SEARCH_CONNECTIONS = 2
STEPS = ["published", "consumed", "validated", "committed", "cached"]


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[LookupServer]:
    async with lookup_server(
        settings, store_deadline_s=DEADLINE_S, lookup_deadline_s=1.5, search_connections=SEARCH_CONNECTIONS
    ) as running:
        yield running


async def ask(server: LookupServer, order_uid: str) -> tuple[int, Any]:
    path = f"/order/{quote(order_uid, safe='').replace('.', '%2E')}/story"
    async with server.client.get(URL(path, encoded=True)) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"] == "application/json"
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) > 0
        return answer.status, await answer.json()


async def story_of(server: LookupServer, order_uid: str) -> Any:
    status, story = await ask(server, order_uid)
    assert status == 200, story
    return story


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_published_order_tells_its_whole_way(
    engine: Running,
    orderflow: Programs,
    orders: OrderGenerator,
    settings: Settings,
    database: asyncpg.Connection,
    server: LookupServer,
) -> None:
    """Every step with its time, where the message was, and who wrote it; nothing of the recipient."""
    order = orders.order()
    began = datetime.now(UTC)
    [(partition, offset)] = await send(settings, message(order))
    await settled(engine, database, 1)
    story = await story_of(server, order["order_uid"])

    assert [step["step"] for step in story["steps"]] == STEPS
    times = [moment(step["at"]) for step in story["steps"]]
    assert times == sorted(times)
    assert began - timedelta(seconds=1) < times[0] < times[-1] < datetime.now(UTC)
    for before, step in zip([None, *times], story["steps"], strict=False):
        since = None if before is None else (moment(step["at"]) - before) / timedelta(milliseconds=1)
        assert step["after_ms"] == since
    assert story["source"] == {
        "topic": settings.kafka_topic,
        "partition": partition,
        "offset": offset,
        "epoch": 0,
        "produced_at": story["steps"][0]["at"],
        "came_as": "message",
    }
    [committed] = engine.seen("batch_committed")
    assert story["batch_id"] == committed["batch_id"]
    batch = story["batch"]
    assert (batch["topic"], batch["consumer_group"]) == (settings.kafka_topic, settings.kafka_group_id)
    assert (batch["worker"], batch["messages"], batch["inserted"]) == (committed["worker"], 1, 1)
    assert batch["host"]
    assert (story["stored"], story["dead_letters"], story["more_dead_letters"]) == (True, [], False)
    assert story["created_at"] == story["updated_at"]
    assert not [value for value in order["delivery"].values() if value and value in json.dumps(story)]

    traced = await orderflow.run("trace", order["order_uid"], "--json")
    assert (traced.returncode, json.loads(traced.stdout), traced.stderr) == (0, story, "")
    told = await orderflow.run("trace", order["order_uid"])
    assert told.returncode == 0
    for line in (*STEPS, f"{settings.kafka_topic} {partition}:{offset}", story["batch_id"], f" on {batch['host']}"):
        assert line in told.stdout


async def test_a_repeat_does_not_pass_for_the_message_that_was_stored(
    engine: Running, orders: OrderGenerator, settings: Settings, database: asyncpg.Connection, server: LookupServer
) -> None:
    """It moves the place alone: when the stored version was published is no longer known. A change tells it anew."""
    order = orders.order()
    await send(settings, message(order), partition=1)
    await settled(engine, database, 1)
    first = await story_of(server, order["order_uid"])
    [(_, offset)] = await send(settings, message(order), partition=1)
    await settled(engine, database, 2)
    repeated = await story_of(server, order["order_uid"])
    source = repeated["source"]
    assert (source["topic"], source["partition"], source["offset"]) == (settings.kafka_topic, 1, offset)
    assert source["came_as"] == "repeat"
    assert moment(source["produced_at"]) > moment(first["steps"][-1]["at"])
    assert (repeated["batch_id"], repeated["batch"]) == (first["batch_id"], first["batch"])
    assert repeated["steps"][0] == {"step": "published", "at": None, "after_ms": None, "since_published_ms": None}
    assert [step["at"] for step in repeated["steps"][1:]] == [step["at"] for step in first["steps"][1:]]

    await send(settings, message(order, sm_id=7), partition=1)
    await settled(engine, database, 3)
    changed = await story_of(server, order["order_uid"])
    assert (changed["source"]["offset"], changed["source"]["came_as"]) == (offset + 1, "message")
    assert changed["batch_id"] != first["batch_id"]
    assert (changed["created_at"], changed["batch"]["changed"]) == (first["created_at"], 1)
    assert moment(changed["updated_at"]) > moment(changed["created_at"])


async def test_a_replayed_letter_is_told_from_the_first_try(
    engine: Running,
    orderflow: Programs,
    orders: OrderGenerator,
    settings: Settings,
    database: asyncpg.Connection,
    server: LookupServer,
) -> None:
    """Published, refused; known as a dead letter alone; mended and replayed; stored by a later batch."""
    await database.execute("ALTER TABLE orders ADD CONSTRAINT no_poison CHECK (shardkey <> 'poison')")
    order = orders.order()
    [(partition, offset)] = await send(settings, message(order, shardkey="poison"))
    await eventually(lambda: ask(server, order["order_uid"]), lambda answer: answer[0] == 200)
    refused = await story_of(server, order["order_uid"])
    assert (refused["stored"], refused["steps"], refused["source"], refused["batch_id"]) == (False, [], None, None)
    [letter] = refused["dead_letters"]
    assert (letter["partition"], letter["offset"], letter["reason"]) == (partition, offset, "refused_by_database")
    assert (letter["topic"], letter["replay_count"], letter["resolved_at"]) == (settings.kafka_topic, 0, None)
    traced = await orderflow.run("trace", order["order_uid"])
    assert traced.returncode == 0
    assert "not stored" in traced.stdout
    assert f"{settings.kafka_topic} {partition}:{offset}  refused_by_database" in traced.stdout

    await database.execute("ALTER TABLE orders DROP CONSTRAINT no_poison")
    await replayed(orderflow, "--everything")
    await engine.wait_for("dead_letters_replayed", accepted=1)
    story = await story_of(server, order["order_uid"])
    assert story["source"] == {
        "topic": settings.kafka_topic,
        "partition": partition,
        "offset": offset,
        "epoch": 0,
        "produced_at": letter["produced_at"],
        "came_as": "replay",
    }
    assert story["steps"][0]["at"] == letter["produced_at"]
    [resolved] = story["dead_letters"]
    assert resolved["replay_count"] == 1
    assert moment(resolved["failed_at"]) < moment(resolved["resolved_at"]) <= moment(story["steps"][3]["at"])


async def test_differences_are_in_milliseconds_and_may_be_negative(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """Clocks differ from machine to machine; what has not happened yet is null."""
    await store_batch(database, settings, consumed_at=after_ms(-2), cached_at=None)
    await store_written_order(database, "uid")
    steps = (await story_of(server, "uid"))["steps"]
    assert [step["after_ms"] for step in steps] == [None, -2, 22.5, 9.5, None]
    assert [step["since_published_ms"] for step in steps] == [0, -2, 20.5, 30, None]
    assert (steps[-1]["step"], steps[-1]["at"]) == ("cached", None)


async def test_what_is_not_known_is_not_invented(
    server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """A batch whose row was deleted, and an order that no batch has written."""
    await store_written_order(database, "pruned")
    story = await story_of(server, "pruned")
    assert (story["batch_id"], story["batch"]) == (str(BATCH_ID), None)
    assert story["source"] == {
        "topic": None,
        "partition": 2,
        "offset": 57,
        "epoch": 0,
        "produced_at": "2026-03-04T05:06:07.100000Z",
        "came_as": None,
    }
    unknown = [{"step": step, "at": None, "after_ms": None, "since_published_ms": None} for step in STEPS]
    assert story["steps"] == unknown

    await store_order(database, make_order(OrderGenerator(2), order_uid="by hand"))
    story = await story_of(server, "by hand")
    assert (story["batch_id"], story["batch"], story["source"]) == (None, None, None)
    assert story["steps"] == unknown
    assert moment(story["created_at"]) == STORED_AT


@pytest.mark.parametrize(
    ("columns", "came_as"),
    [
        ({}, "message"),
        ({"source_offset": 50}, "message"),
        ({"source_offset": 59}, "message"),
        ({"source_offset": 60}, "repeat"),
        ({"source_offset": 49}, "repeat"),
        ({"source_partition": 1}, "repeat"),
        ({"source_epoch": 1}, "message"),
        ({"source_topic": "another"}, "repeat"),
        ({"source_topic": "another", "source_partition": 0, "source_offset": 5}, "repeat"),
        ({"source_epoch": 1, "produced_at": after_ms(86_400_000)}, "repeat"),
        ({"source_partition": 0, "source_offset": 5}, "replay"),
        ({"source_partition": 0, "source_offset": 6}, "repeat"),
        ({"source_partition": 0, "source_offset": 7}, "repeat"),
    ],
)
async def test_only_a_message_of_the_batch_was_stored_by_it(
    server: LookupServer, settings: Settings, database: asyncpg.Connection, columns: dict[str, Any], came_as: str
) -> None:
    """Or a letter that the batch resolved: one that waits, or was resolved later, was not."""
    await store_batch(database, settings)
    await store_letter(database, settings, kafka_offset=5, resolved_at=after_ms(29), failed_at=PRODUCED_AT)
    await store_letter(database, settings, kafka_offset=6, resolved_at=after_ms(40), failed_at=PRODUCED_AT)
    await store_letter(database, settings, kafka_offset=7, failed_at=PRODUCED_AT)
    await store_written_order(database, "uid", **columns)
    story = await story_of(server, "uid")
    assert story["source"]["came_as"] == came_as
    assert (story["steps"][0]["at"] is None) == (came_as == "repeat")


async def test_dead_letters_are_told_in_the_order_in_which_they_failed(
    server: LookupServer, settings: Settings, database: asyncpg.Connection, orderflow: Programs
) -> None:
    """The last hundred of them, without what was sent; those of others are left out."""
    for number in range(MAX_LETTERS + 5):
        failed_at = FAILED_AT - timedelta(seconds=number)
        await store_letter(database, settings, kafka_offset=number, subject="uid", failed_at=failed_at)
    await store_letter(database, settings, partition=1, subject="another")
    await store_letter(database, settings, partition=3)
    story = await story_of(server, "uid")
    assert [letter["offset"] for letter in story["dead_letters"]] == list(reversed(range(MAX_LETTERS)))
    assert story["more_dead_letters"]
    assert story["dead_letters"][-1] == {
        "topic": settings.kafka_topic,
        "partition": 0,
        "offset": 0,
        "reason": "invalid_order",
        "produced_at": "2026-03-04T05:06:07.890123Z",
        "failed_at": "2026-03-04T05:06:07.890123Z",
        "replay_count": 0,
        "replayed_at": None,
        "resolved_at": None,
    }
    assert "payload" not in json.dumps(story)
    traced = await orderflow.run("trace", "uid")
    assert len([line for line in traced.lines if "invalid_order" in line]) == MAX_LETTERS
    assert "  only the last 100 are shown" in traced.lines


async def test_an_unknown_uid_is_said_to_be_unknown(server: LookupServer, orderflow: Programs) -> None:
    """404 over HTTP; exit code 1 and one line that says what to do."""
    assert await ask(server, "nobody") == (404, {"error": "order_not_found"})
    traced = await orderflow.run("trace", "no\nbody\x1b[2J")
    assert (traced.returncode, traced.stdout) == (1, "")
    [line] = traced.stderr.splitlines()
    assert "no order and no dead letter has the uid 'no\\nbody\\x1b[2J'" in line
    assert "check" in line


@pytest.mark.parametrize("encoded", ["a" * 513, "a%00b", "%FF"])
async def test_what_no_order_can_have_as_its_uid_is_refused(server: LookupServer, encoded: str) -> None:
    """As for the order itself."""
    for path in (f"/order/{encoded}/story", f"/order/{encoded}"):
        async with server.client.get(URL(path, encoded=True)) as answer:
            told = {"error": "invalid_order_uid", "allowed": "1 to 512 bytes of UTF-8 without NUL, compared exactly"}
            assert (answer.status, await answer.json()) == (400, told)


@pytest.mark.parametrize("order_uid", ["a/b", "a/story", "story", "100%", "%2F", "{x}", "?q=1#f", "заказ-1", "ж" * 256])
async def test_any_uid_has_a_story(server: LookupServer, database: asyncpg.Connection, order_uid: str) -> None:
    """A uid that looks like the path of a story is still a uid."""
    await store_order(database, make_order(OrderGenerator(3), order_uid=order_uid))
    assert (await story_of(server, order_uid))["order_uid"] == order_uid
    async with server.client.get(URL(f"/order/{quote(order_uid, safe='')}", encoded=True)) as answer:
        assert (await answer.json())["order_uid"] == order_uid


async def test_without_postgresql_a_story_is_unavailable(server: LookupServer, database: asyncpg.Connection) -> None:
    """Down or silent: 503 within the deadline, never 404; afterwards all is as before."""
    await store_order(database, make_order(OrderGenerator(4), order_uid="uid"))
    await story_of(server, "uid")
    await server.postgres.shut()
    assert await ask(server, "uid") == (503, {"error": "unavailable"})
    await server.postgres.open()
    await story_of(server, "uid")
    server.postgres.hold()
    began = perf_counter()
    answers = await asyncio.gather(*(ask(server, "uid") for _ in range(20)))
    assert {status for status, _ in answers} == {503}
    assert perf_counter() - began < 2.5
    await server.postgres.open()
    await eventually(lambda: ask(server, "uid"), lambda answer: answer[0] == 200)


async def test_stories_that_hang_delay_no_lookup(
    server: LookupServer, database: asyncpg.Connection, redis: Redis
) -> None:
    """A crowd of them waits for the connections of searches; cached orders and cold ones are answered at once."""
    generator = OrderGenerator(5)
    uids = [f"uid-{number}" for number in range(20)]
    for uid in uids:
        await store_order(database, make_order(generator, order_uid=uid))
    async with server.client.get(f"/order/{uids[0]}") as answer:
        assert answer.status == 200
    await eventually(lambda: redis.exists(f"order:{uids[0]}"), bool)
    async with database.transaction():
        await database.execute("LOCK batches IN ACCESS EXCLUSIVE MODE")
        stories = asyncio.gather(*(ask(server, "uid-1") for _ in range(30)))
        for uid in uids:
            began = perf_counter()
            async with server.client.get(f"/order/{uid}") as answer:
                assert (answer.status, answer.headers["X-Cache"]) == (200, "hit" if uid == uids[0] else "miss")
            assert perf_counter() - began < 0.5
        assert {status for status, _ in await stories} == {503}
    await story_of(server, "uid-1")


async def test_the_uid_is_logged_once_it_is_known_to_be_one(server: LookupServer, database: asyncpg.Connection) -> None:
    """What is no uid may be anything that a person typed."""
    await store_order(database, make_order(OrderGenerator(6), order_uid="uid"))
    with capture_logs() as lines:
        await ask(server, "uid")
        await ask(server, "somebody@example.com")
    lines = [line for line in lines if line["event"] == "http_request"]
    assert [(line["route"], line["status"], line.get("order_uid")) for line in lines] == [
        ("/order/{order_uid}/story", 200, "uid"),
        ("/order/{order_uid}/story", 404, None),
    ]
    assert "somebody" not in str(lines)


async def test_no_story_is_found_by_reading_a_table(settings: Settings, database: asyncpg.Connection) -> None:
    """Among many orders, batches and dead letters, however many of these are about the same order.

    A few rows are read for each letter that is told of.
    """
    await store_many(database, "o-", 20_000)
    await database.execute(
        """
        INSERT INTO batches
        SELECT ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, 'group', $1, 'worker-1', 'host',
               '[{"partition": 0, "first_offset": 1, "last_offset": 9}]', now(), now(), now(), now(), 1, 1, 0, 0, 0
        FROM generate_series(1, 20000) n
        """,
        settings.kafka_topic,
    )
    await database.execute(
        """
        INSERT INTO dead_letters (topic, partition, kafka_offset, reason, subject, produced_at, failed_at, batch_id,
                                  consumer_group)
        SELECT $1, n % 4, n, 'invalid_order', CASE n % 3 WHEN 0 THEN 'o-000000007' WHEN 1 THEN 'uid-' || n END,
               now(), now() + make_interval(secs => n), gen_random_uuid(), 'group'
        FROM generate_series(1, 60000) n
        """,
        settings.kafka_topic,
    )
    await database.execute(
        "UPDATE orders SET batch_id = '00000000-0000-0000-0000-000000000007' WHERE order_uid = 'o-000000007'"
    )
    await database.execute("ANALYZE orders, batches, dead_letters")
    for uid, letters in (("o-000000007", 100), ("o-000000008", 0), ("uid-1000", 1), ("nobody", 0)):
        read = await _rows_read(database, uid)
        story = await fetch_story(database, uid)
        assert len(story.dead_letters if story else []) == letters
        assert read <= 4 * (letters + 1), (uid, read)


async def _rows_read(database: asyncpg.Connection, order_uid: str) -> int:
    """Return how many rows of tables the story's query reads, and check that it scans none of them whole."""

    class Explaining:
        plan = ""

        async def fetch(self, query: str, *arguments: Any, **_: Any) -> list[Any]:
            [row] = await database.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *arguments)
            self.plan = row[0]
            return await database.fetch(query, *arguments)

    explaining = Explaining()
    await fetch_story(explaining, order_uid)
    nodes = list(_nodes(json.loads(explaining.plan)[0]["Plan"]))
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan"], nodes
    return sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in nodes
        if "Relation Name" in node
    )


def _nodes(node: dict[str, Any]) -> Any:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)
