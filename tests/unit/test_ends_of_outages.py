"""A worker waits no longer than a service is away, but longer and longer while tries fail although it answers."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from engine.records import Batch, Written
from engine.stages.postgres_outage import PROBE_S
from engine.stages.source import CONNECT_RETRY_S
from engine.telemetry import events
from tests.support.memory_kafka import MemoryKafka
from tests.support.memory_postgres import MemoryPostgres
from tests.support.memory_worker import GOOD, Process, stand_ins, start_process
from tests.support.virtual_time import VirtualLoop

BACKOFF_MAX_S = 20
"""Of the worker in `start_process`."""


class World:
    """A worker with one partition, and what PostgreSQL has committed. Delays grow to `BACKOFF_MAX_S`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.kafka = MemoryKafka(1, lambda *_: None)
        self.committed: list[Any] = []
        self.postgres = MemoryPostgres(self.committed.append)
        self.worker = self._start()
        self.tries: list[float] = []

    def _start(self) -> Process:
        worker = start_process(self.loop, self.kafka, self.postgres, batch_max=10)
        self.loop.pass_time(1)
        self.loop.run(worker.assign({0}))
        self.loop.pass_time(1)
        return worker

    def orders(self) -> int:
        return sum(len(transaction.orders) for transaction in self.committed)

    def fail_writes(self, error: Exception, down_s: float | None = None) -> None:
        """Let every write fail, and with `down_s` take the server down for that long."""

        async def fail(_connection: Any, _batch: Batch[bytes]) -> Written:
            self.tries.append(self.loop.time())
            if down_s is not None:
                self.postgres.go_down()
                self.loop.call_later(down_s, self.postgres.come_back)
            raise error

        self.worker.handler.statement = lambda _batch: None  # type: ignore[method-assign]
        self.worker.handler.handle_batch = fail  # type: ignore[method-assign]


@pytest.fixture
def world() -> Iterator[World]:
    loop = VirtualLoop()
    with stand_ins():
        yield World(loop)
        loop.close()


@pytest.mark.parametrize("away_s", [0.1, 1, 10, 100, 1000])
def test_a_worker_goes_on_within_seconds_however_long_postgresql_was_away(world: World, away_s: float) -> None:
    """It asks again and again; ten times, for the moment at which it comes back matters."""
    for number in range(1, 11):
        world.postgres.go_down()
        world.kafka.append(0, GOOD)
        world.loop.pass_time(away_s)
        world.postgres.come_back()
        world.loop.pass_time(PROBE_S + 0.1)
        assert world.orders() == number


@pytest.mark.parametrize(
    ("error", "down_s"),
    [
        (asyncpg.DiskFullError("disk"), None),
        (asyncpg.ReadOnlySQLTransactionError("read-only"), None),
        (TimeoutError(), None),
        (ConnectionResetError(), 1.0),
        (ConnectionResetError(), 4.0),
        (ConnectionResetError(), 9.0),
        (asyncpg.CrashShutdownError("crash"), 14.0),
    ],
    ids=["full disk", "read-only", "it hangs", "it crashes", "it recovers slowly", "more slowly", "very slowly"],
)
def test_tries_that_fail_although_postgresql_answers_become_rare(
    world: World, error: Exception, down_s: float | None
) -> None:
    """A batch that a server does not survive must not bring it down every few seconds."""
    world.fail_writes(error, down_s)
    world.kafka.append(0, GOOD)
    world.loop.pass_time(600)
    late = [one for one in world.tries if one > 120]
    assert len(late) + 1 >= 480 / BACKOFF_MAX_S / 2
    assert min(later - earlier for earlier, later in pairwise(late)) >= BACKOFF_MAX_S / 2


def test_after_a_refusal_a_server_that_went_away_is_found_again_within_seconds(world: World) -> None:
    """Its disk was full for long, and it is restarted with another one."""
    wrong, right = asyncpg.DiskFullError("disk"), world.worker.handler.handle_batch
    world.fail_writes(wrong)
    world.kafka.append(0, GOOD)
    world.loop.pass_time(300)
    world.postgres.go_down()
    world.loop.pass_time(60)
    world.worker.handler.handle_batch = right  # type: ignore[method-assign]
    world.postgres.come_back()
    world.loop.pass_time(PROBE_S + 0.1)
    assert world.orders() == 1


def test_a_worker_that_starts_without_kafka_joins_within_seconds_of_its_return(world: World) -> None:
    """It reports less and less often meanwhile, and asks as often as before."""
    world.kafka.away = True
    with capture_logs() as lines:
        late = start_process(world.loop, world.kafka, world.postgres, batch_max=10)
        world.loop.pass_time(1000)
    told = [line["tries"] for line in lines if line["event"] in {events.OUTAGE_STARTED, events.OUTAGE_CONTINUES}]
    assert told == list(range(1, len(told) + 1))
    assert 1000 / BACKOFF_MAX_S <= len(told) < 3 * 1000 / BACKOFF_MAX_S
    assert late.member.joined is None
    world.kafka.away = False
    world.loop.pass_time(CONNECT_RETRY_S)
    assert late.member.joined is not None
