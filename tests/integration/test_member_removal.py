"""Members that are gone are taken out of their group, on real Kafka; while it is away that is given up soon."""

import asyncio
import time
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.group import JoinGroupRequest
from structlog.testing import capture_logs

from engine.processes.member_removal import CLOSE_S, DEADLINE_S, MemberRemoval
from orderflow.services import free_ports
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings
from tests.chaos.engines import group_members
from tests.support.eventually import eventually

SESSION_TIMEOUT_MS = 30_000
SOON_S = 10.0
"""Much less than the session timeout, after which the group would have missed the member by itself."""


@pytest.fixture
async def removal(settings: Settings) -> AsyncIterator[MemberRemoval]:
    """Remove members of the test's group."""
    removal = MemberRemoval(kafka_options(settings), settings.kafka_group_id)
    removal.connect()
    yield removal
    await removal.close()


def member_of(settings: Settings) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        settings.kafka_topic,
        group_id=settings.kafka_group_id,
        session_timeout_ms=SESSION_TIMEOUT_MS,
        heartbeat_interval_ms=200,
        **kafka_options(settings),
    )


async def half_joined(settings: Settings) -> str:
    """Ask to join the group, and go when an id was given: the group waits for who has it. Return the id."""
    client = AIOKafkaClient(**kafka_options(settings))
    try:
        await client.bootstrap()
        coordinator = await client.coordinator_lookup(CoordinationType.GROUP, settings.kafka_group_id)
        request = JoinGroupRequest(
            settings.kafka_group_id, SESSION_TIMEOUT_MS, SESSION_TIMEOUT_MS, "", None, "consumer", [("roundrobin", b"")]
        )
        answer = await client.send(coordinator, request)
        assert answer.member_id
        return str(answer.member_id)
    finally:
        await client.close()


async def told(lines: list[MutableMapping[str, Any]], count: int = 1) -> list[tuple[str, str, str]]:
    """Wait until it was told what became of so many members, and return that."""

    async def look() -> list[tuple[str, str, str]]:
        return [
            (line["event"], line["worker"], line["member_id"]) for line in lines if line["event"].startswith("member_")
        ]

    return await eventually(look, lambda found: len(found) >= count, timeout_s=DEADLINE_S + SOON_S)


async def test_a_member_is_removed_once_and_again_without_harm(removal: MemberRemoval, settings: Settings) -> None:
    """Who is not known to the group, by that or because it has left itself, counts as removed."""
    member = member_of(settings)
    await member.start()
    member_id = member._coordinator.member_id
    member._coordinator._heartbeat_task.cancel()  # it would join again
    with capture_logs() as lines:
        removal.remove(member_id, "worker-0")
        await told(lines)
        assert await group_members(settings) == 0
        removal.remove(member_id, "worker-0")
        assert await told(lines, 2) == [("member_removed", "worker-0", member_id)] * 2
    await member.stop()


async def test_a_member_that_died_while_it_joined_holds_up_nobody(removal: MemberRemoval, settings: Settings) -> None:
    """The broker has given it an id and waits for it: others share out as soon as it was removed."""
    first, member = member_of(settings), member_of(settings)
    await first.start()
    member_id = await half_joined(settings)
    begun_s = time.monotonic()
    joining = asyncio.create_task(member.start())
    await asyncio.wait({joining}, timeout=2)
    assert not joining.done(), "nobody was waited for"
    removal.remove(member_id, "worker-0")
    async with asyncio.timeout(SOON_S):
        await joining
    assert time.monotonic() - begun_s < SOON_S < SESSION_TIMEOUT_MS / 1000
    await member.stop()
    await first.stop()


async def test_while_kafka_is_away_it_is_given_up(settings: Settings) -> None:
    """After its deadline, with one line; the end does not wait for one that is under way."""
    nobody = {"bootstrap_servers": f"127.0.0.1:{free_ports(1)[0]}"}
    removal = MemberRemoval(nobody, settings.kafka_group_id)
    with capture_logs() as lines:
        removal.connect()
        removal.remove("a-member", "worker-0")
        assert await told(lines) == [("member_not_removed", "worker-0", "a-member")]
        [line] = [line for line in lines if line["event"] == "member_not_removed"]
        assert line["error"] == "ConnectionRefusedError"
        assert line["tries"] > 1
        removal.remove("a-member", "worker-0")
        begun_s = time.monotonic()
        await removal.close()
        assert time.monotonic() - begun_s < CLOSE_S + 1
        assert len(await told(lines)) == 1


async def test_a_connection_that_broke_is_made_anew(removal: MemberRemoval, settings: Settings) -> None:
    """Its connections are lost, and the coordinator that it knew is not there any more: the next try finds it."""
    with capture_logs() as lines:
        removal.remove("nobody", "worker-0")
        await told(lines)
        await removal._brokers.close()
        removal._coordinator = 4711
        removal.remove("nobody", "worker-1")
        assert (await told(lines, 2))[-1] == ("member_removed", "worker-1", "nobody")
