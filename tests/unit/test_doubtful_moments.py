"""Moments in which a worker cannot know what PostgreSQL has done: each is settled before anything else is decided."""

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from structlog.testing import capture_logs

from engine.handler import Statement
from engine.records import Batch, Written
from engine.telemetry import events
from orderflow.operating.offset_reset import _RESET
from tests.support.memory_connection import Client, connect
from tests.support.memory_kafka import TOPIC, MemoryKafka
from tests.support.memory_postgres import MemoryPostgres, Transaction
from tests.support.memory_worker import GOOD, GROUP, Process, stand_ins, start_process
from tests.support.virtual_time import VirtualLoop

AT_ONCE = b"in one statement"


@attrs.define
class World:
    """A topic with one partition, PostgreSQL, and what it has committed."""

    loop: VirtualLoop
    kafka: MemoryKafka
    postgres: MemoryPostgres
    committed: list[Transaction]

    def start(self) -> Process:
        """Start a worker and give it the partition."""
        process = start_process(self.loop, self.kafka, self.postgres, batch_max=10)
        self.loop.pass_time(1)
        self.loop.run(process.assign({0}))
        self.loop.pass_time(1)
        return process

    def lose_the_next_commit(self, process: Process, after_s: float) -> None:
        """Let a record be written, and the connection be lost in COMMIT, which is done `after_s` later all the same."""
        self.postgres.lost_commits[process.client] = after_s
        self.kafka.append(0, GOOD)
        while self.postgres.lost_commits:
            self.loop.pass_time(0.05)

    async def reset(self, offset: int) -> None:
        """Set the stored offset, as an operator does."""
        await (await connect(self.postgres, Client())).execute(_RESET, GROUP, TOPIC, 0, offset, 0)


@pytest.fixture
def world() -> Iterator[World]:
    loop, committed = VirtualLoop(), []
    kafka = MemoryKafka(1, lambda *_: None)
    with stand_ins():
        yield World(loop, kafka, MemoryPostgres(committed.append), committed)
        loop.close()


def test_a_commit_that_lands_late_is_followed_up_although_the_partition_went_meanwhile(world: World) -> None:
    """The connection is lost in COMMIT, the group takes the partition away, and only then the COMMIT is done."""
    worker = world.start()
    world.lose_the_next_commit(worker, after_s=2.5)
    world.loop.run(worker.assign(set()))
    world.loop.pass_time(30)
    [written] = [transaction for transaction in world.committed if transaction.orders or transaction.letters]
    assert worker.handler.followed == written.rows


def test_a_statement_that_lands_late_is_followed_up_whenever_that_is(world: World) -> None:
    """It begins after its connection was lost: before it is looked for, between that and the next try, or later."""
    worker = world.start()
    world.postgres.latency_s = 0.2
    for late in range(1, 50):
        world.postgres.late_statements[worker.client] = late / 20
        world.kafka.append(0, GOOD)
        world.loop.pass_time(20)
        assert not world.postgres.late_statements
    written = [transaction for transaction in world.committed if transaction.orders]
    assert [order for transaction in written for order in transaction.orders] == [(0, n, GOOD) for n in range(49)]
    assert worker.handler.followed == [row for transaction in written for row in transaction.rows]


def test_of_two_tries_in_doubt_the_one_that_landed_is_followed_up(world: World) -> None:
    """The second one is lost before its COMMIT, and the first one lands at some time, or is fenced."""
    worker = world.start()
    handler, followed = worker.handler, []
    statement, committed = handler.statement, handler.batch_committed

    def in_one_statement(batch: Batch[bytes]) -> Any:
        found = statement(batch)
        rows = [(record.partition, record.offset, AT_ONCE) for record, _ in batch.accepted()]
        return found and (Statement(found[0].tables, (rows,)), attrs.evolve(found[1], follow_up=AT_ONCE))

    async def note(batch: Batch[bytes], written: Written) -> None:
        followed.append(written.follow_up or GOOD)
        await committed(batch, written)

    handler.statement, handler.batch_committed = in_one_statement, note  # type: ignore[method-assign]
    world.postgres.latency_s = 0.2
    for late in range(100):
        world.postgres.late_statements[worker.client] = late / 10
        world.postgres.lost_commits[worker.client] = None
        world.kafka.append(0, GOOD)
        world.loop.pass_time(30)
        assert not world.postgres.late_statements
        world.postgres.lost_commits.clear()
        landed = [value for transaction in world.committed for _, _, value in transaction.orders]
        assert followed == landed, late
    assert set(followed) == {AT_ONCE, GOOD}


def test_an_outage_that_begins_in_a_commit_is_told_once(world: World) -> None:
    """The batch is looked for before it is written again: the tries to do that belong to the same outage."""
    with capture_logs() as lines:
        worker = world.start()
        world.lose_the_next_commit(worker, after_s=0)
        world.postgres.go_down()
        world.loop.pass_time(30)
        world.postgres.come_back()
        world.loop.pass_time(60)
    told = [(line["event"], line["tries"]) for line in lines if "offsets" in line]
    assert len(told) > 3
    assert told[0] == (events.OUTAGE_STARTED, 1)
    assert told[1:] == [(events.OUTAGE_CONTINUES, tries) for tries in range(2, len(told) + 1)]


def test_a_batch_is_no_dead_letter_when_its_offset_is_reset_while_its_commit_is_in_doubt(world: World) -> None:
    """The COMMIT was done; an operator then sends the group back to where that batch began."""
    worker = world.start()
    world.lose_the_next_commit(worker, after_s=0)
    world.loop.pass_time()
    world.loop.run(world.reset(0))
    world.loop.pass_time(30)
    world.kafka.append(0, GOOD)
    world.loop.pass_time(30)
    written = [
        (transaction.orders, transaction.letters)
        for transaction in world.committed
        if transaction.orders or transaction.letters
    ]
    assert written == [([(0, 0, GOOD)], []), ([(0, 0, GOOD), (0, 1, GOOD)], [])]


def test_a_partition_is_not_refused_because_its_last_owner_went_on_while_it_was_opened(world: World) -> None:
    """What was the topic's end when the new owner asked is not its end any more when it has the stored offset."""
    world.start()
    world.postgres.latency_s = 0.3
    heir = start_process(world.loop, world.kafka, world.postgres, batch_max=10)
    world.loop.pass_time(1)
    world.loop.run(heir.assign({0}))
    world.loop.pass_time(0.25)
    world.kafka.append(0, GOOD)
    refused = []
    for _ in range(100):
        world.loop.pass_time(0.1)
        refused.append(heir.worker._stages.table.refused)
    assert heir.worker._stages.table.positions() == {0: 1}
    assert not any(refused)
