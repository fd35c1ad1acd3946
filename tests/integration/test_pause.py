"""Pausing and resuming on the real system: what is in flight is written, and then nothing is consumed until resumed."""

import signal
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from msgspec import json

from orderflow.publishing.orders import OrderGenerator
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.lookup_server import LookupServer, lookup_server
from tests.support.programs import Finished, Programs, Running
from tests.support.topic import send

TOKEN = "the admin's token"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
EVERYTHING = {0, 1, 2, 3}


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[LookupServer]:
    async with lookup_server(settings, admin_token=TOKEN) as running:
        yield running


async def post(server: LookupServer, what: str, body: Any = None, headers: Any = ADMIN) -> tuple[int, Any]:
    async with server.client.post(f"/operations/{what}", json=body or {}, headers=headers) as answer:
        return answer.status, await answer.json()


async def health(server: LookupServer) -> tuple[int, dict[str, Any]]:
    async with server.client.get("/healthz") as answer:
        return answer.status, (await answer.json())["checks"]["engine"]


async def partitions(server: LookupServer) -> dict[int, dict[str, Any]]:
    async with server.client.get("/operations/snapshot") as answer:
        return {one["partition"]: one for one in (await answer.json())["partitions"]}


async def lags(orderflow: Programs) -> dict[int, dict[str, Any]]:
    ended = await orderflow.run("lag", "--json")
    assert ended.returncode == 0, ended.stderr
    return {one["partition"]: one for one in json.decode(ended.stdout)}


async def publish(settings: Settings, orders: OrderGenerator, to: set[int]) -> None:
    for partition in sorted(to):
        order = orders.order()
        await send(settings, (order["order_uid"].encode(), json.encode(order)), partition=partition)


async def stored(database: asyncpg.Connection) -> int:
    count: int = await database.fetchval("SELECT count(*) FROM orders")
    return count


async def succeeds(orderflow: Programs, *arguments: str) -> Finished:
    ended = await orderflow.run(*arguments)
    assert ended.returncode == 0, ended.stderr
    return ended


async def test_everything_waits_in_kafka_from_pause_to_resume(
    orderflow: Programs, engine: Running, settings: Settings, database: asyncpg.Connection, orders: OrderGenerator
) -> None:
    """The command returns when nothing is in flight; a restart changes nothing; resuming consumes all that waited."""
    await publish(settings, orders, EVERYTHING)
    await eventually(lambda: stored(database), (4).__eq__)

    paused = await succeeds(orderflow, "pause")
    assert paused.lines[0].startswith("Paused: everything, since ")
    assert paused.lines[1] == "Nothing is in flight any more"
    told = await engine.wait_for("partitions_paused")
    assert told["partitions"] == [0, 1, 2, 3]
    assert "@" in told["by"]
    await publish(settings, orders, EVERYTHING)
    waiting = await lags(orderflow)
    assert [(one["lag"], one["paused_by"]) for one in waiting.values()] == [(1, told["by"])] * 4
    assert (await succeeds(orderflow, "lag")).lines[-1].startswith("paused: everything, since ")
    assert (await succeeds(orderflow, "pause")).lines[0].startswith("Already paused: everything, since ")

    engine.send_signal(signal.SIGKILL, children=True)
    await engine.ended()
    again = await orderflow.start("engine", "--workers", "2")
    await again.wait_for("partitions_paused", count=2)
    states = "SELECT array_agg(state) FROM workers WHERE heartbeat_at > now() - interval '2 s'"
    await eventually(lambda: database.fetchval(states), lambda found: (found or []).count("paused") == 2)
    assert not again.seen("partition_opened")
    assert await stored(database) == 4

    resumed = await succeeds(orderflow, "resume")
    assert resumed.lines[0].startswith("Resumed: everything, since ")
    await eventually(lambda: stored(database), (8).__eq__)
    assert (await succeeds(orderflow, "resume")).stdout == "Nothing was paused\n"
    assert {one["paused_at"] for one in (await lags(orderflow)).values()} == {None}
    assert await again.stop() == 0


async def test_one_partition_is_paused_and_the_others_go_on(
    orderflow: Programs, engine: Running, settings: Settings, database: asyncpg.Connection, orders: OrderGenerator
) -> None:
    """A rebalance does not end the pause, and one partition is not resumed out of a pause of everything."""
    assert engine.seen("partition_opened")
    await succeeds(orderflow, "pause", "--partition", "2")
    other = await orderflow.start("engine", "--workers", "1")
    await other.wait_for("partition_opened")
    await publish(settings, orders, EVERYTHING)
    await eventually(lambda: stored(database), (3).__eq__)
    assert {partition: one["lag"] for partition, one in (await lags(orderflow)).items()} == {0: 0, 1: 0, 2: 1, 3: 0}

    await succeeds(orderflow, "pause")
    refused = await orderflow.run("resume", "--partition", "2")
    assert refused.returncode == 1
    assert "everything is paused" in refused.stderr
    assert [line.split(",")[0] for line in (await succeeds(orderflow, "resume")).lines] == [
        "Resumed: everything",
        "Resumed: partition 2",
    ]
    await eventually(lambda: stored(database), (4).__eq__)
    unknown = await orderflow.run("pause", "--partition", "9")
    assert unknown.returncode == 1
    assert "has no partition 9: it has [0, 1, 2, 3]" in unknown.stderr
    assert (await succeeds(orderflow, "resume", "--partition", "2")).stdout == "Partition 2 was not paused\n"
    assert (await engine.stop(), await other.stop()) == (0, 0)


async def test_a_pause_waits_until_what_is_in_flight_is_written(
    orderflow: Programs,
    engine: Running,
    server: LookupServer,
    settings: Settings,
    database: asyncpg.Connection,
    orders: OrderGenerator,
) -> None:
    """As long as a batch waits for PostgreSQL the pause is placed, but not drained: the command says by whom."""
    async with database.transaction():
        await database.execute("LOCK TABLE orders IN SHARE MODE")
        await publish(settings, orders, {1})
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'orders'::regclass"
        await eventually(lambda: database.fetchval(waits), bool)
        late = await orderflow.run("pause", "--partition", "1", START_TIMEOUT_S="6")
        assert late.returncode == 1
        assert "the pause stays, but after 6 s" in late.stderr
        assert "worker-0 did not say that everything in flight is written" in late.stderr
        found = (await partitions(server))[1]
        assert (found["drained"], found["paused_at"] is None) == (False, False)
    await succeeds(orderflow, "pause", "--partition", "1")
    assert await stored(database) == 1
    found = await eventually(lambda: partitions(server), lambda found: found[1]["drained"] is True)
    assert [found[partition]["drained"] for partition in (0, 2, 3)] == [None] * 3
    assert await engine.stop() == 0


async def test_over_http_consumption_is_paused_with_the_admin_token(
    server: LookupServer, engine: Running, settings: Settings, database: asyncpg.Connection, orders: OrderGenerator
) -> None:
    """A pause is a state, not a failure: health answers 200, and says what is paused, since when and by whom."""
    assert (await post(server, "pause", headers={}))[0] == 401
    status, found = await post(server, "pause", {"partition": 2})
    assert (status, found["new"], [one["partition"] for one in found["pauses"]]) == (200, True, [2])
    assert found["pauses"][0]["paused_by"] == "HTTP from 127.0.0.1"
    assert (await post(server, "pause", {"partition": 2}))[1]["new"] is False
    await engine.wait_for("partitions_paused", partitions=[2])
    status, told = await health(server)
    assert (status, told["paused"], told["pauses"]) == (200, [2], found["pauses"])
    async with server.client.get("/metrics") as answer:
        assert 'orderflow_partition_paused{partition="2"} 1.0' in await answer.text()

    status, found = await post(server, "pause")
    assert [one["partition"] for one in found["pauses"]] == [None, 2]
    await engine.wait_for("partitions_paused", partitions=[0, 1, 3])
    status, told = await eventually(lambda: health(server), lambda found: found[1]["workers"] == {"paused": 1})
    assert (status, told["paused"]) == (200, [0, 1, 2, 3])
    assert (await post(server, "resume", {"partition": 2}))[0] == 409
    for wrong, allowed in ((9, "The topic has 0, 1, 2, 3"), (-1, "The topic has"), ("2", "a partition of the topic")):
        status, refused = await post(server, "pause", {"partition": wrong})
        assert (status, refused["error"], refused["parameter"]) == (400, "invalid_parameter", "partition")
        assert allowed in refused["allowed"]

    await publish(settings, orders, EVERYTHING)
    status, found = await post(server, "resume")
    assert (status, len(found["ended"]), found["pauses"]) == (200, 2, [])
    await eventually(lambda: stored(database), (4).__eq__)
    assert (await health(server))[1]["paused"] == []


async def test_nothing_is_paused_while_an_older_engine_runs(
    orderflow: Programs, server: LookupServer, settings: Settings, database: asyncpg.Connection
) -> None:
    """It would go on consuming. If one is started during a pause, health says so."""
    older = """
    INSERT INTO workers (worker_id, worker, host, pid, state, partitions, restarts, started_at, heartbeat_at, details,
                         consumer_group, topic)
    VALUES ('old', 'worker-0', 'old-host', 7, 'idle', '{0}', 0, now(), now() + interval '20 s', '{}', $1, $2)
    """
    consumer = (settings.kafka_group_id, settings.kafka_topic)
    await database.execute(older, *consumer)
    refused = await orderflow.run("pause")
    assert refused.returncode == 1
    assert "workers of an older build run, which cannot be paused: old-host/worker-0" in refused.stderr
    assert await post(server, "pause") == (409, {"error": "workers_too_old", "workers": ["old-host/worker-0"]})
    assert await database.fetchval("SELECT count(*) FROM pauses") == 0

    await database.execute("DELETE FROM workers")
    assert (await succeeds(orderflow, "pause")).lines[1] == "No engine runs; one that is started now pauses"
    await database.execute(older, *consumer)
    status, found = await health(server)
    assert (status, found["error"]) == (503, "workers of an older build do not pause: old-host/worker-0")
    doctor = json.decode((await orderflow.run("doctor", "--json")).stdout)
    [finding] = [one for one in doctor if one["check"] == "Pauses"]
    assert (finding["ok"], finding["level"]) == (False, "failed")
    assert finding["detail"] == "workers of an older build go on in spite of a pause: old-host/worker-0"
    await database.execute("DELETE FROM workers")
    doctor = json.decode((await orderflow.run("doctor", "--json")).stdout)
    [finding] = [one for one in doctor if one["check"] == "Pauses"]
    assert (finding["ok"], finding["level"]) == (True, "warning")


async def test_an_offset_that_was_reset_during_a_pause_counts_when_it_is_resumed(
    orderflow: Programs, engine: Running, settings: Settings, database: asyncpg.Connection, orders: OrderGenerator
) -> None:
    """The engine reads the stored offset anew: so a database may be restored while everything is paused."""
    await publish(settings, orders, {0})
    await eventually(lambda: stored(database), (1).__eq__)
    await succeeds(orderflow, "pause")
    await database.execute("DELETE FROM orders")
    await succeeds(orderflow, "offsets", "reset", "--partition", "0")
    await succeeds(orderflow, "resume")
    await eventually(lambda: stored(database), (1).__eq__)
    assert await engine.stop() == 0
