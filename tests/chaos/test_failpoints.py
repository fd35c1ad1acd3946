"""kill -9 at the places where it could hurt: between two steps that must count as one, or be caught up."""

import os
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from orderflow.start.settings import Settings
from tests.chaos.engines import armed, drain, started
from tests.chaos.fault_run import FaultRun
from tests.support.eventually import eventually
from tests.support.programs import Programs
from tests.support.topic import length, receive

WAITING = "SELECT count(*) FROM dead_letters WHERE published_at IS NULL"


async def run_with_a_death(
    orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection, fired: Path, failpoint: str
) -> None:
    """Load an engine of two workers of which the first to reach `failpoint` is killed there, and check everything."""
    # Without the warm-up: it would bring everything into the cache again, and hide what is not caught up.
    engine = await started(orderflow, workers=2, CACHE_WARM_ORDERS="0", **armed(failpoint, fired))
    ledger = fault_run.ledger(change_share=0.2)

    async def one_worker_dies_there() -> None:
        died = await engine.wait_for("worker_died", timeout_s=60)
        await fault_run.load_goes_on()
        fault_run.healed()
        assert died["exit_code"] == -9
        assert os.listdir(fired) == [failpoint.translate(str.maketrans("=@", "--"))]
        await engine.wait_for("worker_started", count=3, timeout_s=40)

    report = await fault_run.under_load(one_worker_dies_there, messages=6000, per_second=500, ledger=ledger)
    assert report.violations == []
    await eventually(lambda: database.fetchval(WAITING), lambda found: found == 0)
    await drain(engine)


@pytest.mark.parametrize(
    "failpoint",
    [
        pytest.param("after-copy=kill@30", marks=pytest.mark.fault("2", "kill -9 after the COPY, before the commit")),
        pytest.param("after-commit=kill@30", marks=pytest.mark.fault("2", "kill -9 after the commit")),
        pytest.param("after-cache-write=kill@30", marks=pytest.mark.fault("2", "kill -9 after the cache write")),
    ],
)
async def test_a_worker_may_die_between_any_two_steps_of_a_batch(
    orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection, tmp_path: Path, failpoint: str
) -> None:
    """Before the commit nothing counts, after it everything does, and the cache is caught up."""
    await run_with_a_death(orderflow, fault_run, database, tmp_path, failpoint)


@pytest.mark.fault("2", "kill -9 after the dead-letter send")
async def test_a_letter_that_was_sent_and_not_marked_is_sent_again(
    orderflow: Programs, fault_run: FaultRun, tmp_path: Path, settings: Settings, database: asyncpg.Connection
) -> None:
    """The table holds each dead letter once, the dead-letter topic at least once; the one in between comes twice."""
    await run_with_a_death(orderflow, fault_run, database, tmp_path, "after-dead-letter-send=kill@30")
    stored = await database.fetch("SELECT partition, kafka_offset, published_at FROM dead_letters")
    assert all(row["published_at"] for row in stored)
    published = await receive(settings, settings.kafka_dlq_topic, await length(settings, settings.kafka_dlq_topic))
    origins = [origin(letter) for letter in published]
    assert set(origins) == {(row["partition"], row["kafka_offset"]) for row in stored}
    assert len(origins) > len(stored)
    fault_run.remark = f"{len(stored)} letters, {len(origins)} in the topic"


def origin(letter: Any) -> tuple[int, int]:
    """Return the partition and offset that a published letter says it comes from."""
    headers = {name: value.decode() for name, value in letter.headers}
    return int(headers["x-original-partition"]), int(headers["x-original-offset"])
