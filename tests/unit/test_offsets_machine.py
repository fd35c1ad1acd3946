"""Workers that freeze, die, lose their connections and their partitions write each record once, and in order.

These are whole workers: only Kafka, PostgreSQL, the application's handler and time are stand-ins.
"""

import asyncio
import itertools
from contextlib import ExitStack

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.postgres.pauses import EVERY
from orderflow.operating.offset_reset import _RESET
from tests.support.memory_connection import Client, connect
from tests.support.memory_kafka import TOPIC, MemoryKafka
from tests.support.memory_postgres import MemoryPostgres, Transaction
from tests.support.memory_worker import BAD, GOOD, GROUP, POISON, stand_ins, start_process
from tests.support.state_machines import short_and_long
from tests.support.virtual_time import VirtualLoop

PROCESSES, PARTITIONS = 3, 2
NUMBERS = st.integers(0, PROCESSES - 1)
PARTITION = st.integers(0, PARTITIONS - 1)
OWNERS = st.tuples(*[NUMBERS] * PARTITIONS)
SECONDS = st.sampled_from([0, 0.1, 0.4, 1, 4])
PERIODS = st.sampled_from([0.5, 2, 12])
DRAINED_S = 90


class OffsetsMachine(RuleBasedStateMachine):
    """A topic, a group of workers and a database, and everything that may happen to them."""

    @initialize(
        latency_s=st.sampled_from([0, 0.1, 0.5]), batch_max=st.sampled_from([1, 3, 8]), load_s=st.sampled_from([0.3, 2])
    )
    def begin(self, latency_s: float, batch_max: int, load_s: float) -> None:
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(lambda *_: None)
        self.stack = ExitStack()
        self.stack.enter_context(stand_ins())
        self.batch_max = batch_max
        self.kafka = MemoryKafka(PARTITIONS, self.kafka_committed)
        self.postgres = MemoryPostgres(self.committed, lambda row: row[-1] == POISON, latency_s)
        self.operator = Client()
        self.next_offset = dict.fromkeys(range(PARTITIONS), 0)
        self.highest = dict.fromkeys(range(PARTITIONS), 0)
        self.wrong: list[str] = []
        self.wakes: list[asyncio.TimerHandle] = []
        self.resets: list[asyncio.Task[None]] = []
        self.processes = [start_process(self.loop, self.kafka, self.postgres, batch_max) for _ in range(PROCESSES)]
        self.load = self.loop.create_task(self.produce_steadily(load_s))
        self.loop.pass_time()
        self.rebalance(tuple(range(PARTITIONS)), set(), 0)

    async def produce_steadily(self, load_s: float) -> None:
        for number in itertools.count():
            self.kafka.append(number % PARTITIONS, GOOD)
            await asyncio.sleep(load_s)

    def committed(self, transaction: Transaction) -> None:
        """Hold a transaction to the model at the moment of its commit."""
        orders, letters = [], []
        for (_, _, partition), row in sorted(transaction.offsets.items()):
            begin, end = self.next_offset[partition], row["next_offset"]
            self.next_offset[partition] = end
            self.highest[partition] = max(self.highest[partition], end)
            if transaction.client is self.operator:
                return
            if end < begin:
                self.wrong.append(f"partition {partition} went back from {begin} to {end}")
            for record in self.kafka.between(partition, begin, end):
                if record.value == GOOD:
                    orders.append((partition, record.offset, GOOD))
                else:
                    letters.append((partition, record.offset))
        if (orders, letters) != (sorted(transaction.orders), sorted(transaction.letters)):
            self.wrong.append(f"{transaction.orders} and {transaction.letters} instead of {orders} and {letters}")
        for process in self.processes:
            if process.client is transaction.client:
                table = process.worker._stages.table
                written = {partition for partition, *_ in [*transaction.orders, *transaction.letters]}
                if still := written & set(table.paused) - set(table.undrained):
                    self.wrong.append(f"the paused partitions {still} had been drained")
                process.batches += bool(transaction.orders or transaction.letters)
                process.rows += transaction.rows

    def kafka_committed(self, partition: int, offset: int) -> None:
        if offset > self.highest[partition]:
            self.wrong.append(f"Kafka's offset {offset} of partition {partition} passed {self.highest[partition]}")

    @rule(
        partition=PARTITION,
        values=st.lists(st.sampled_from([GOOD] * 6 + [BAD, POISON]), min_size=1, max_size=6),
        gap=st.sampled_from([0, 0, 1]),
        seconds=SECONDS,
    )
    def produce(self, partition: int, values: list[bytes], gap: int, seconds: float) -> None:
        for value in values:
            self.kafka.append(partition, value, gap)
        self.loop.pass_time(seconds)

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.loop.pass_time(seconds)

    @rule(owners=OWNERS, deaf=st.sets(NUMBERS, max_size=1), seconds=SECONDS)
    def rebalance(self, owners: tuple[int, ...], deaf: set[int], seconds: float) -> None:
        """Assign each partition anew. Who is frozen, or deaf, goes on believing in what it had."""
        self.owners = owners
        for number, process in enumerate(self.processes):
            if not process.frozen and number not in deaf:
                self.loop.run(process.assign({partition for partition, owner in enumerate(owners) if owner == number}))
        self.loop.pass_time(seconds)

    @rule(owners=OWNERS, seconds=SECONDS)
    def lend(self, owners: tuple[int, ...], seconds: float) -> None:
        """Give partitions to others for a while, and then back."""
        before = self.owners
        self.rebalance(owners, set(), seconds)
        self.rebalance(before, set(), 1)

    @rule(number=NUMBERS, owners=OWNERS, frozen_s=PERIODS, seconds=SECONDS)
    def freeze(self, number: int, owners: tuple[int, ...], frozen_s: float, seconds: float) -> None:
        """Freeze a worker for a while, and give away what it had."""
        client = self.processes[number].client
        client.freeze()
        self.wakes.append(self.loop.call_later(frozen_s, client.wake))
        self.rebalance(owners, set(), seconds)

    @rule(number=NUMBERS, owners=OWNERS, frozen_s=PERIODS, seconds=SECONDS)
    def freeze_in_its_transaction(self, number: int, owners: tuple[int, ...], frozen_s: float, seconds: float) -> None:
        """Freeze it with the lock of an offset's row in its hands, if it comes to that soon."""
        for _ in range(20):
            if self.postgres.locked_by(self.processes[number].client):
                self.freeze(number, owners, frozen_s, seconds)
                return
            self.loop.pass_time(0.1)

    @rule(number=NUMBERS, after_s=st.sampled_from([None, 0, 1, 20]), seconds=SECONDS)
    def lose_the_connection_in_commit(self, number: int, after_s: float | None, seconds: float) -> None:
        self.postgres.lost_commits[self.processes[number].client] = after_s
        self.loop.pass_time(seconds)

    @rule(number=NUMBERS | st.none(), seconds=SECONDS, down_s=PERIODS)
    def break_a_worker_or_the_database(self, number: int | None, seconds: float, down_s: float) -> None:
        if number is None:
            self.postgres.go_down()
            self.loop.call_later(down_s, self.postgres.come_back)
        else:
            self.kill(number)
        self.loop.pass_time(seconds)

    def kill(self, number: int) -> None:
        """End a process without a word, and start another in its place."""
        self.postgres.end_all(self.processes[number].client)
        self.processes[number].client.kill()
        self.processes[number] = start_process(self.loop, self.kafka, self.postgres, self.batch_max)

    @rule(partition=PARTITION | st.just(EVERY), seconds=SECONDS)
    def pause_or_resume(self, partition: int, seconds: float) -> None:
        self.postgres.pauses ^= {partition}
        self.loop.pass_time(seconds)

    @invariant()
    def a_worker_that_follows_a_pause_fetches_nothing_of_it(self) -> None:
        for process in self.processes:
            source = process.worker._stages.source
            assert not source._fetcher._states.keys() & set(process.worker._stages.table.paused)

    @rule(partition=PARTITION, offset=st.integers(0, 12))
    def reset_an_offset(self, partition: int, offset: int) -> None:
        offset = min(offset, self.kafka.ends[partition])
        self.resets.append(self.loop.create_task(self._reset(partition, offset)))
        self.loop.pass_time()

    async def _reset(self, partition: int, offset: int) -> None:
        try:
            connection = await connect(self.postgres, self.operator)
            await connection.execute(_RESET, GROUP, TOPIC, partition, offset, 0)
        except (OSError, asyncpg.ConnectionDoesNotExistError):
            return  # an operator would see that, and try again

    @invariant()
    def each_record_is_written_once_and_in_order(self) -> None:
        assert self.wrong == []

    @invariant()
    def no_worker_fails(self) -> None:
        for process in self.processes:
            assert process.asked_to_stop or not process.task.done()

    @invariant()
    def no_partition_is_refused(self) -> None:
        """The topic stays the same, and its end only grows: there is no reason to refuse it."""
        for process in self.processes:
            assert process.worker._stages.table.refused == {}

    @invariant()
    def positions_never_pass_what_is_stored(self) -> None:
        for process in self.processes:
            for partition, offset in process.worker._stages.table.positions().items():
                assert offset <= self.highest[partition]

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            if not self.wrong:
                self.settle()
        finally:
            self.loop.close()
            self.stack.close()

    def settle(self) -> None:
        """Mend everything: then nothing is left out, whoever stays frozen; and who is awake at last ends well."""
        self.load.cancel()
        self.postgres.latency_s = 0
        self.postgres.come_back()
        self.postgres.pauses.clear()
        self.postgres.lost_commits.clear()
        for wake in self.wakes:
            wake.cancel()
        self.processes[0].client.wake()
        self.loop.pass_time()
        self.rebalance((0,) * PARTITIONS, set(), 0)
        until = self.loop.time() + DRAINED_S
        while not self.drained() and self.loop.time() < until:
            self.loop.pass_time(1)
        assert self.drained(), "nothing is skipped or stuck"
        for process in self.processes:
            process.client.wake()
            process.asked_to_stop = True
            process.worker.request_stop()
        self.loop.pass_time(60)
        for process in self.processes:
            assert process.task.result() == 0
            followed = process.handler.followed
            # Once another worker has moved the offsets on, nothing tells that a batch without a row was committed.
            assert {*process.rows} <= {*followed}, "each batch with a row is followed up"
            assert len(followed) <= process.batches, "none is followed up twice"
        assert self.wrong == []

    def drained(self) -> bool:
        """Whether all is consumed. If not, send a record more: a reset shows with the next one that is written."""
        if self.next_offset == self.kafka.ends and all(reset.done() for reset in self.resets):
            return True
        for partition in range(PARTITIONS):
            self.kafka.append(partition, GOOD)
        return False


TestOffsets, TestOffsetsThoroughly = short_and_long(OffsetsMachine, 150, 30, report_multiple_bugs=False)
