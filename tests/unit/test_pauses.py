"""How far workers follow a pause, and what a worker does that cannot find out what is paused."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from lookup.operations.pauses import deaf_workers, undrained_partitions, unfinished_workers
from msgspec import json

from engine.actors.status import State
from engine.kafka.partitions import OUT_OF_RANGE, PartitionTable, Refusal
from engine.postgres.pauses import EVERY, Pause, Pauses
from engine.processes.worker import Worker
from tests.support.memory_kafka import MemoryKafka
from tests.support.memory_postgres import MemoryPostgres
from tests.support.memory_worker import GOOD, Process, stand_ins, start_process
from tests.support.virtual_time import VirtualLoop

AT = datetime(2026, 11, 30, 1, 2, 3, tzinfo=UTC)
EVERYTHING, SECOND = Pause(EVERY, AT, "somebody"), Pause(2, AT, "somebody")


def row(followed: dict[str, str] | None, undrained: list[int], **changes: Any) -> dict[str, Any]:
    """Return a worker as `fetch_workers` does."""
    details = json.encode({"pauses": followed, "undrained": undrained})
    worker = {"host": "host", "worker": "worker-0", "state": "idle", "heartbeat_age_s": 0.5, "partitions": [0, 2]}
    return {**worker, "details": details, **changes}


def following(*pauses: Pause) -> dict[str, str]:
    return {str(pause.partition): pause.stamp for pause in pauses}


@pytest.mark.parametrize(
    ("worker", "pause", "is_unfinished"),
    [
        (row(following(EVERYTHING), []), EVERYTHING, False),
        (row(following(EVERYTHING), [0]), EVERYTHING, True),
        (row(following(SECOND), [0]), SECOND, False),
        (row(following(SECOND), [0, 2]), SECOND, True),
        (row(following(SECOND), []), EVERYTHING, True),
        (row({}, []), EVERYTHING, True),
        (row(None, []), EVERYTHING, True),
        (row(following(Pause(EVERY, AT - timedelta(seconds=1), "somebody")), []), EVERYTHING, True),
        (row({}, [], state="dead", heartbeat_age_s=30.0), EVERYTHING, True),
        (row({}, [], state="dead", heartbeat_age_s=None), EVERYTHING, False),
        (row({}, [], details=b"{}"), EVERYTHING, True),
    ],
    ids=[
        "it follows the pause",
        "it still writes",
        "it writes another partition",
        "it writes this partition",
        "it follows another pause",
        "it follows none",
        "it does not know what is paused",
        "it follows an earlier pause of the same",
        "it is silent, and may still write",
        "its supervisor has seen it end",
        "it is of an older build",
    ],
)
def test_a_pause_is_finished_when_nobody_can_write_what_it_holds(
    worker: dict[str, Any], pause: Pause, is_unfinished: bool
) -> None:
    """What is not known counts as not finished."""
    assert bool(unfinished_workers([worker], pause)) is is_unfinished


def test_a_partition_is_drained_when_no_worker_can_write_it() -> None:
    """Neither one that does not follow the pause yet, nor one that it was taken from."""
    pauses = Pauses.of_rows([{"partition": EVERY, "paused_at": AT, "paused_by": "somebody"}])
    assert undrained_partitions([row({}, [])], pauses) == {0, 2}
    assert undrained_partitions([row(following(EVERYTHING), [5])], pauses) == {5}
    assert undrained_partitions([row(following(EVERYTHING), [])], pauses) == set()
    assert deaf_workers([row({}, []), row({}, [], details=b"{}")]) == ["host/worker-0"]


def test_a_refusal_ends_with_a_pause() -> None:
    """Nobody looks any more whether its cause is gone; on resuming, somebody does."""
    table = PartitionTable()
    table.assign({0})
    table.refuse(0, Refusal(OUT_OF_RANGE, 5, "the broker no longer has offset 5", "orderflow offsets reset"))
    table.pause(0, 0)
    assert (table.refused, table.wanted) == ({}, [])
    table.resume(0)
    assert table.wanted == [0]


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    with stand_ins():
        yield loop
        loop.close()


def start(loop: VirtualLoop, kafka: MemoryKafka, postgres: MemoryPostgres) -> Process:
    process = start_process(loop, kafka, postgres, batch_max=10)
    loop.pass_time(1)
    loop.run(process.assign({0}))
    loop.pass_time(30)
    return process


def beat(worker: Worker[bytes]) -> tuple[str, dict[str, Any]]:
    found = worker._observe()
    return found.state, found.details


def test_a_worker_that_cannot_find_out_what_is_paused_says_so(loop: VirtualLoop) -> None:
    """It consumes nothing, is not taken for well, names what must be changed, and goes on when that is done."""
    kafka, postgres = MemoryKafka(1, lambda *_: None), MemoryPostgres()
    postgres.pauses_refused = asyncpg.InsufficientPrivilegeError("permission denied for table pauses")
    kafka.append(0, GOOD)
    process = start(loop, kafka, postgres)
    state, details = beat(process.worker)
    assert state == State.OUTAGE
    assert details["pauses"] is None
    assert details["waiting_batch"]["setup"].startswith("pauses cannot be read: InsufficientPrivilegeError (42501)")
    assert process.worker._stages.table.positions() == {}

    postgres.pauses_refused = None
    loop.pass_time(5)
    state, details = beat(process.worker)
    assert (state, details["pauses"], details["waiting_batch"]) == (State.IDLE, {}, None)
    assert process.worker._stages.table.positions() == {0: 1}


def test_a_worker_that_knows_what_is_paused_goes_on_when_it_cannot_ask_again(loop: VirtualLoop) -> None:
    """Only the next pause would not be noticed; orders are not held up for that."""
    kafka, postgres = MemoryKafka(1, lambda *_: None), MemoryPostgres()
    process = start(loop, kafka, postgres)
    postgres.pauses_refused = asyncpg.InsufficientPrivilegeError("permission denied for table pauses")
    loop.pass_time(60)
    kafka.append(0, GOOD)
    loop.pass_time(5)
    assert beat(process.worker)[0] == State.IDLE
    assert process.worker._stages.table.positions() == {0: 1}
