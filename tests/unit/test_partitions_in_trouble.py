"""What befalls one partition stops that one alone, is told, and is over when its cause is.

These are whole workers: only Kafka, PostgreSQL, the application's handler and time are stand-ins.
"""

from collections.abc import Iterator

import attrs
import pytest

from engine.kafka.partitions import CORRUPT_BATCH, NO_LEADER, OUT_OF_RANGE, Refusal
from engine.stages.handover import BROKEN_TRIES
from engine.stages.opener import LONGEST_TRIAL_S
from orderflow.operating.offset_reset import _RESET
from tests.support.memory_connection import Client, connect
from tests.support.memory_kafka import TOPIC, MemoryKafka
from tests.support.memory_postgres import MemoryPostgres, Transaction
from tests.support.memory_worker import GOOD, GROUP, Process, stand_ins, start_process
from tests.support.virtual_time import VirtualLoop

BAD, SOUND = 0, 1
WHILE_S = 20.0


@attrs.define
class World:
    """A topic with two partitions, `BAD` and `SOUND`, of which each order stored is kept as (partition, offset)."""

    loop: VirtualLoop
    kafka: MemoryKafka
    postgres: MemoryPostgres
    stored: list[tuple[int, int]]

    def start(self) -> Process:
        """Start a worker and give it both partitions."""
        process = start_process(self.loop, self.kafka, self.postgres, batch_max=10)
        self.loop.pass_time(1)
        self.loop.run(process.assign({BAD, SOUND}))
        self.loop.pass_time(1)
        return process

    def append(self, partition: int, count: int, gap: int = 0) -> None:
        """Append orders, each behind a gap of so many offsets."""
        for _ in range(count):
            self.kafka.append(partition, GOOD, gap)

    def offsets(self, partition: int) -> list[int]:
        """Return the offsets of a partition's orders that are stored."""
        return sorted(offset for where, offset in self.stored if where == partition)

    def refused(self, process: Process) -> dict[int, Refusal]:
        """Return what the worker says of its partitions."""
        return process.worker._stages.table.refused

    def reset(self, offset: int) -> None:
        """Set the stored offset of `BAD`, as an operator does."""

        async def work() -> None:
            await (await connect(self.postgres, Client())).execute(_RESET, GROUP, TOPIC, BAD, offset, 0)

        self.loop.run(work())


@pytest.fixture
def world() -> Iterator[World]:
    stored: list[tuple[int, int]] = []

    def committed(transaction: Transaction) -> None:
        stored.extend((partition, offset) for partition, offset, _ in transaction.orders)

    loop = VirtualLoop()
    with stand_ins():
        yield World(loop, MemoryKafka(2, lambda *_: None), MemoryPostgres(committed), stored)
        loop.close()


def test_a_broken_batch_is_fetched_three_times_more_and_then_stops_its_partition_alone(world: World) -> None:
    """What is before it is stored, what is behind it is not, and the other partition goes on."""
    world.append(BAD, 5)
    world.kafka.spoilt.add((BAD, 3))
    world.append(SOUND, 5)
    process = world.start()
    world.loop.pass_time(2)
    assert world.kafka.fetches[BAD].count(3) == BROKEN_TRIES
    assert world.kafka.fetches[BAD].count(0) == 1, "the first fetch met it too"
    world.append(SOUND, 5)
    world.loop.pass_time(1)
    assert (world.offsets(BAD), world.offsets(SOUND)) == ([0, 1, 2], list(range(10)))
    refusal = world.refused(process)[BAD]
    assert (refusal.reason, refusal.offset, refusal.fix) == (
        CORRUPT_BATCH,
        3,
        f"orderflow offsets skip --partition {BAD}",
    )
    assert set(world.refused(process)) == {BAD}


@pytest.mark.parametrize("broken", [0, 3])
def test_a_batch_that_is_sound_again_is_consumed_unaided(world: World, broken: int) -> None:
    """Another replica may lead. Until then it is tried again now and then, and stays refused all the time."""
    world.append(BAD, 5)
    world.kafka.spoilt.add((BAD, broken))
    process = world.start()
    world.loop.pass_time(2)
    for _ in range(100):
        world.loop.pass_time(1)
        assert set(world.refused(process)) == {BAD}
    assert len(world.kafka.fetches[BAD]) < 40, "a batch that stays broken keeps nobody busy"
    world.kafka.spoilt.clear()
    world.loop.pass_time(LONGEST_TRIAL_S + WHILE_S)
    assert (world.offsets(BAD), world.refused(process)) == (list(range(5)), {})


def test_an_operator_moves_a_partition_past_its_broken_batch(world: World) -> None:
    """A running worker sees the new offset within seconds."""
    world.append(BAD, 5)
    world.kafka.spoilt.add((BAD, 3))
    process = world.start()
    world.loop.pass_time(WHILE_S)
    world.reset(4)
    world.loop.pass_time(6)
    assert (world.offsets(BAD), world.refused(process)) == ([0, 1, 2, 4], {})


def test_a_partition_whose_offset_is_gone_starves_no_other(world: World) -> None:
    """It is told with its offset, fetched no more, and goes on where an operator sends it."""
    world.append(BAD, 5)
    process = world.start()
    world.append(BAD, 5)
    world.kafka.begins[BAD] = 8
    world.append(SOUND, 5)
    world.loop.pass_time(WHILE_S)
    asked = len(world.kafka.fetches[BAD])
    refusal = world.refused(process)[BAD]
    assert (refusal.reason, refusal.offset) == (OUT_OF_RANGE, 5)
    world.append(SOUND, 5)
    world.loop.pass_time(WHILE_S)
    assert (world.offsets(SOUND), len(world.kafka.fetches[BAD])) == (list(range(10)), asked)
    world.reset(8)
    world.loop.pass_time(6)
    assert (world.offsets(BAD), world.refused(process)) == ([0, 1, 2, 3, 4, 8, 9], {})


def test_a_partition_without_a_leader_at_the_start_holds_up_no_other(world: World) -> None:
    """It is told after a moment, as an election may take, and opened as soon as it has one."""
    world.kafka.leaderless.add(BAD)
    world.append(BAD, 5)
    world.append(SOUND, 5)
    process = world.start()
    assert (world.offsets(SOUND), world.refused(process)) == (list(range(5)), {})
    world.loop.pass_time(WHILE_S)
    assert {partition: one.reason for partition, one in world.refused(process).items()} == {BAD: NO_LEADER}
    world.kafka.leaderless.clear()
    world.loop.pass_time(2)
    assert (world.offsets(BAD), world.refused(process)) == (list(range(5)), {})


def test_a_partition_that_loses_its_leader_goes_on_from_where_it_was(world: World) -> None:
    """It is told meanwhile, and no more once it has a leader, though nothing new arrives."""
    process = world.start()
    world.append(BAD, 3)
    world.loop.pass_time(1)
    world.kafka.leaderless.add(BAD)
    world.loop.pass_time(WHILE_S)
    assert {partition: one.reason for partition, one in world.refused(process).items()} == {BAD: NO_LEADER}
    world.kafka.leaderless.clear()
    world.loop.pass_time(2)
    assert world.refused(process) == {}
    world.append(BAD, 2)
    world.loop.pass_time(1)
    assert world.offsets(BAD) == list(range(5))


def test_a_partition_whose_leader_fails_is_told_and_goes_on_by_itself(world: World) -> None:
    """A broker may answer well for one partition, and with an error of its own for another, for ever."""
    process = world.start()
    world.kafka.failing.add(BAD)
    world.append(BAD, 3)
    world.append(SOUND, 3)
    world.loop.pass_time(5)
    assert (world.offsets(SOUND), world.refused(process)) == ([0, 1, 2], {})
    world.loop.pass_time(WHILE_S)
    [(partition, refusal)] = world.refused(process).items()
    assert (partition, refusal.reason) == (BAD, NO_LEADER)
    assert "UnknownError" in refusal.detail
    world.kafka.failing.clear()
    world.loop.pass_time(2)
    assert (world.offsets(BAD), world.refused(process)) == ([0, 1, 2], {})


def test_a_batch_of_which_only_the_beginning_is_there_stops_its_partition(world: World) -> None:
    """It is asked for alone first: a batch larger than an answer comes whole then."""
    world.append(BAD, 5)
    world.kafka.cut.add((BAD, 3))
    process = world.start()
    world.append(SOUND, 5)
    world.loop.pass_time(WHILE_S)
    assert (world.offsets(BAD), world.offsets(SOUND)) == ([0, 1, 2], list(range(5)))
    assert world.refused(process)[BAD].reason == CORRUPT_BATCH
    world.kafka.cut.clear()
    world.loop.pass_time(LONGEST_TRIAL_S + WHILE_S)
    assert (world.offsets(BAD), world.refused(process)) == (list(range(5)), {})


def test_a_broken_batch_that_is_not_found_any_more_is_no_gap(world: World) -> None:
    """Where its offset is spoilt, a broker that is asked for exactly that one goes on behind it."""
    process = world.start()
    world.kafka.spoilt.add((BAD, 3))
    world.append(BAD, 5)
    world.loop.pass_time(0.4)
    world.kafka.spoilt.clear()
    world.kafka.lost.add((BAD, 3))
    world.loop.pass_time(3)
    assert (world.offsets(BAD), world.refused(process)[BAD].offset) == ([0, 1, 2], 3)


def test_a_partition_is_well_once_its_last_record_can_be_read_again(world: World) -> None:
    """Although nothing new comes."""
    world.append(BAD, 3)
    process = world.start()
    world.loop.pass_time(1)
    world.kafka.spoilt.add((BAD, 2))
    world.loop.run(process.assign({SOUND}))
    world.loop.run(process.assign({BAD, SOUND}))
    world.loop.pass_time(WHILE_S)
    assert world.refused(process)[BAD].reason == CORRUPT_BATCH
    world.kafka.spoilt.clear()
    world.loop.pass_time(LONGEST_TRIAL_S)
    assert world.refused(process) == {}
    world.kafka.spoilt.add((BAD, 2))
    world.loop.run(process.assign({SOUND}))
    world.loop.run(process.assign({BAD, SOUND}))
    world.loop.pass_time(2)
    world.reset(3)
    world.loop.pass_time(6)
    assert world.refused(process) == {}, "who skips it ends the comparison, and does not wait for the next trial"


def test_a_broker_that_gives_nothing_of_what_it_has_stops_its_partition(world: World) -> None:
    """So a broker answers, without an error, that does not find its way behind a broken batch."""
    world.append(BAD, 5)
    world.kafka.withheld |= {(BAD, 4), (BAD, 5)}
    process = world.start()
    world.loop.pass_time(WHILE_S)
    assert world.refused(process) == {}, "there is nothing to give"
    world.append(BAD, 3)
    world.append(SOUND, 5)
    world.loop.pass_time(WHILE_S)
    assert (world.offsets(BAD), world.offsets(SOUND)) == (list(range(5)), list(range(5)))
    refusal = world.refused(process)[BAD]
    assert (refusal.reason, refusal.offset, set(world.refused(process))) == (CORRUPT_BATCH, 5, {BAD})
    world.kafka.withheld.clear()
    world.loop.pass_time(LONGEST_TRIAL_S + WHILE_S)
    assert (world.offsets(BAD), world.refused(process)) == (list(range(8)), {})


def test_offsets_that_compaction_took_away_are_passed_after_a_fetch_at_exactly_there(world: World) -> None:
    """Everything that is left is stored, and the position was asked for before it was passed."""
    world.append(BAD, 2)
    world.append(BAD, 3, gap=4)
    world.start()
    world.loop.pass_time(WHILE_S)
    assert world.offsets(BAD) == [0, 1, 6, 11, 16]
    assert 2 in world.kafka.fetches[BAD]
