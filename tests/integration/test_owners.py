"""Who owns a partition, told everywhere: a worker, or a stranger in the consumer group. On a real group."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from confluent_kafka import Consumer
from lookup.operations.owners import OwnerMatcher, OwnerReader, Owners
from msgspec import json

from engine.kafka.group_members import GroupMembers, Member
from orderflow.services import free_ports
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.isolation import own_database
from tests.support.lookup_server import lookup_server
from tests.support.programs import Programs


@asynccontextmanager
async def reader_in(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """Have a plain consumer in the engine's group."""
    consumer = AIOKafkaConsumer(
        settings.kafka_topic, group_id=settings.kafka_group_id, enable_auto_commit=False, **kafka_options(settings)
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def lag(orderflow: Programs) -> dict[int, str | None]:
    ended = await orderflow.run("lag", "--json")
    assert ended.returncode == 0, ended.stderr
    return {one["partition"]: one["owner"] for one in json.decode(ended.stdout)}


async def members(settings: Settings) -> list[Member]:
    group = GroupMembers(kafka_options(settings), settings.kafka_group_id, settings.kafka_topic, 5)
    try:
        return await group.fetch()
    finally:
        await group.close()


@pytest.fixture
async def known_worker(settings: Settings, database: asyncpg.Connection) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that is a worker by its row, which says which member it is."""
    async with reader_in(settings) as consumer:
        [member] = await eventually(lambda: members(settings), lambda found: bool(found and found[0].partitions))
        await database.execute(
            "INSERT INTO workers (worker_id, worker, host, pid, state, partitions, restarts, started_at, heartbeat_at, "
            "details, consumer_group, topic) VALUES ('here/1/worker-0', 'worker-0', 'here', 1, 'idle', '{0,1,2,3}', 0, "
            "now(), now() + interval '1 hour', $1, $2, $3)",
            json.encode({"member_id": member.member_id}).decode(),
            settings.kafka_group_id,
            settings.kafka_topic,
        )
        yield consumer


async def test_a_group_that_nobody_is_in_has_no_owners(orderflow: Programs) -> None:
    assert await lag(orderflow) == dict.fromkeys(range(4))


async def test_the_worker_is_named_and_a_plain_reader_that_takes_half_is_a_stranger(
    orderflow: Programs, settings: Settings, known_worker: AIOKafkaConsumer
) -> None:
    """By the command, the doctor, health and operations; and all is well again once it has left."""
    assert await lag(orderflow) == dict.fromkeys(range(4), "here/worker-0")
    async with lookup_server(settings) as server:

        async def health() -> dict[str, Any]:
            async with server.client.get("/healthz") as answer:
                found: dict[str, Any] = (await answer.json())["checks"]["engine"]
                return found

        assert (await health())["foreign"] == []
        async with reader_in(settings) as stranger:
            told = await eventually(health, lambda found: bool(found["foreign"]))
            theirs = sorted(place.partition for place in stranger.assignment())
            assert (told["status"], told["foreign"]) == ("unavailable", theirs)
            owners = {partition: "foreign" if partition in theirs else "here/worker-0" for partition in range(4)}
            assert await lag(orderflow) == owners
            doctor = json.decode((await orderflow.run("doctor", "--json")).stdout)
            [found] = [one for one in doctor if one["check"] == "Members of the group"]
            assert found["outcome"] == "failed"
            numbers = ", ".join(map(str, theirs))
            assert f"partition {numbers} is consumed by a foreign member ('aiokafka-" in found["message"]
            assert "KAFKA_GROUP_ID" in found["message"]

            async def snapshot() -> dict[int, str | None]:
                async with server.client.get("/operations/snapshot") as answer:
                    return {one["partition"]: one["owner"] for one in (await answer.json())["partitions"]}

            assert await eventually(snapshot, lambda found: found == owners)
        await eventually(health, lambda found: found["foreign"] == [])


@pytest.mark.long
async def test_whoever_asks_a_server_first_is_told_of_a_stranger_that_was_there_before_it(
    settings: Settings, known_worker: AIOKafkaConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, nothing is known of it, which is not the same as nobody; and in a while it is, though nobody asks."""
    found_out, match = asyncio.Event(), OwnerMatcher.match

    def watched(matcher: OwnerMatcher, *arguments: Any) -> Owners:
        owners = match(matcher, *arguments)
        if owners.foreign:
            found_out.set()
        return owners

    monkeypatch.setattr(OwnerMatcher, "match", watched)
    async with reader_in(settings) as stranger:
        await eventually(lambda: members(settings), lambda found: [len(one.partitions) for one in found] == [2, 2])
        theirs = sorted(place.partition for place in stranger.assignment())
        async with lookup_server(settings) as server, server.client.get("/healthz") as answer:
            assert (await answer.json())["checks"]["engine"]["foreign"] in (None, theirs)
        found_out.clear()
        async with lookup_server(settings) as server:
            await asyncio.wait_for(found_out.wait(), 60)
            async with server.client.get("/healthz") as answer:
                told = (await answer.json())["checks"]["engine"]
                assert (answer.status, told["foreign"]) == (503, theirs)
        found_out.clear()
        async with lookup_server(settings) as server:
            await asyncio.wait_for(found_out.wait(), 60)
            async with server.client.get("/operations/snapshot") as answer:
                owners = {one["partition"]: one["owner"] for one in (await answer.json())["partitions"]}
                assert owners == {each: "foreign" if each in theirs else "here/worker-0" for each in range(4)}


async def test_an_engine_on_another_database_is_a_stranger(
    orderflow: Programs, settings: Settings, environment: dict[str, str], template: str
) -> None:
    """Each is one to the other: either would store half of the orders."""
    engine = await orderflow.start("engine", "--workers", "1")
    await engine.wait_for("partition_opened", count=4)
    async with own_database(environment, template) as name:
        elsewhere = {"POSTGRES_DATABASE": name}
        other = await orderflow.start("engine", "--workers", "1", **elsewhere)
        await other.wait_for("partition_opened", count=2)
        for changes in ({}, elsewhere):

            async def owners(changes: dict[str, str] = changes) -> list[str | None]:
                ended = await orderflow.run("lag", "--json", **changes)
                return [one["owner"] for one in json.decode(ended.stdout)]

            await eventually(owners, lambda found: found.count("foreign") == 2, 60)
        assert await other.stop() == 0
    assert await engine.stop() == 0


async def test_a_member_of_the_new_group_protocol_is_seen(settings: Settings) -> None:
    """The broker describes its group as dead to whoever asks in the old way."""
    consumer = Consumer(
        {
            "bootstrap.servers": ",".join(settings.kafka_bootstrap),
            "group.id": settings.kafka_group_id,
            "group.protocol": "consumer",
            "client.id": "newcomer",
        }
    )
    try:
        await asyncio.to_thread(consumer.subscribe, [settings.kafka_topic])

        async def assigned() -> list[Member]:
            await asyncio.to_thread(consumer.poll, 0.2)
            return await members(settings)

        [found] = await eventually(assigned, lambda found: bool(found and found[0].partitions))
        assert (found.client_id, found.partitions) == ("newcomer", {0, 1, 2, 3})
    finally:
        await asyncio.to_thread(consumer.close)


async def test_without_an_answer_the_owners_are_unknown(settings: Settings) -> None:
    """An error of the question, within its deadline; and nothing known for whoever tells of it."""
    group = GroupMembers({"bootstrap_servers": f"127.0.0.1:{free_ports(1)[0]}"}, "group", settings.kafka_topic, 2)
    with pytest.raises((KafkaError, OSError)):
        await group.fetch()
    assert await OwnerReader(group, OwnerMatcher()).read([]) is None
