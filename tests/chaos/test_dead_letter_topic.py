"""A dead-letter topic that takes nothing, under load: ingest does not care, nothing is lost, and somebody is told."""

import asyncio
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from orderflow.start.settings import Settings
from tests.chaos.checker import drained, last_offsets
from tests.chaos.engines import all_open, worker_pids
from tests.chaos.fault_run import FaultRun
from tests.support.eventually import eventually
from tests.support.lookup_server import lookup_server
from tests.support.programs import Programs, Running
from tests.support.topic import receive
from tests.support.topic_admin import configure_topic, create_topic, delete_topic

WAITING = "SELECT count(*) FROM dead_letters WHERE published_at IS NULL"
TRIES_A_SECOND = 2.5
"""Of one worker: with the tests' longest pause of a second, and half of that by chance, two are right."""
FIRST_TRIES = 6
"""How many of its quick first tries come on top."""


def tries(engine: Running) -> int:
    """Return how many times a worker has said that the dead-letter topic took nothing."""
    return sum(len(engine.seen(event, of="dlq")) for event in ("outage_started", "outage_continues"))


@pytest.mark.fault("10", "the dead-letter topic refuses, is deleted, and comes back")
async def test_rejects_wait_for_a_topic_that_takes_nothing(
    orderflow: Programs, fault_run: FaultRun, settings: Settings, database: asyncpg.Connection
) -> None:
    """Ingest goes on, rejects wait in their table, health says so, tries are few, and all arrive in the end."""
    engine = await all_open(orderflow)
    workers = worker_pids(engine)
    ledger = fault_run.ledger(invalid_share=0.1)

    returned_at: datetime | None = None

    async def refuse_then_vanish_then_return() -> None:
        nonlocal returned_at
        loop = asyncio.get_running_loop()
        await engine.wait_for("batch_committed", count=10)
        broken = loop.time()
        await configure_topic(settings, settings.kafka_dlq_topic, max_message_bytes="1")
        await engine.wait_for("outage_started", of="dlq", error="MessageSizeTooLargeError")
        await health_is(settings, 503)
        await fault_run.load_goes_on(2000)
        refused_s = loop.time() - broken
        fault_run.remark = f"{tries(engine)} tries in {refused_s:.0f} s"
        assert tries(engine) <= len(workers) * (FIRST_TRIES + TRIES_A_SECOND * refused_s)
        await delete_topic(settings, settings.kafka_dlq_topic)
        await engine.wait_for("outage_continues", of="dlq", error="UnknownTopicOrPartitionError", timeout_s=40)
        await drained(settings, last_offsets(ledger.sent))
        returned_at = await database.fetchval("SELECT clock_timestamp()")
        await create_topic(settings, settings.kafka_dlq_topic, 1)
        fault_run.healed()
        await engine.wait_for("outage_ended", of="dlq", timeout_s=40)
        await health_is(settings, 200)

    report = await fault_run.under_load(refuse_then_vanish_then_return, messages=7000, per_second=350, ledger=ledger)
    assert report.violations == []
    assert worker_pids(engine) == workers
    await eventually(lambda: database.fetchval(WAITING), lambda left: left == 0)
    assert await database.fetchval("SELECT count(*) FROM dead_letters WHERE publish_error IS NOT NULL") == 0
    rows = await database.fetch("SELECT partition, kafka_offset FROM dead_letters WHERE published_at > $1", returned_at)
    assert sorted(await places(settings, len(rows))) == sorted((row[0], row[1]) for row in rows)
    assert await engine.stop(timeout_s=30) == 0


async def places(settings: Settings, count: int) -> list[tuple[int, int]]:
    """Return where the first `count` letters of the dead-letter topic say that they come from."""
    found = [dict(letter.headers) for letter in await receive(settings, settings.kafka_dlq_topic, count)]
    return [(int(one["x-original-partition"]), int(one["x-original-offset"])) for one in found]


async def health_is(settings: Settings, status: int) -> None:
    """Wait until health answers with `status`; only the dead letters may be what is not well."""
    async with lookup_server(settings, dead_letter_max_wait_s=1.0) as server:

        async def look() -> tuple[int, dict[str, Any]]:
            async with server.client.get("/healthz") as answer:
                return answer.status, (await answer.json())["checks"]

        _, checks = await eventually(look, lambda seen: seen[0] == status)
        unwell = {name for name, check in checks.items() if check["status"] != "ok"}
        assert unwell == (set() if status == 200 else {"dead_letters"})
        assert status == 200 or checks["dead_letters"]["waiting"] > 0
        async with server.client.get("/readyz") as answer:
            assert answer.status == 200
