"""Workers that are frozen while others take over, and that wake up late."""

import asyncio
from pathlib import Path

import asyncpg
import psutil
import pytest

from engine.processes.supervisor import HEARTBEAT_TIMEOUT_S
from tests.chaos.engines import armed, consumes, drain, freeze, shared_out, started, thaw, workers
from tests.chaos.fault_run import FaultRun
from tests.support.eventually import eventually
from tests.support.programs import Programs, Running

ALL_PARTITIONS = [0, 1, 2, 3]


async def takes_over(heir: Running) -> None:
    """Wait until the heir has been given all partitions and has opened them."""
    await heir.wait_for("partitions_assigned", partitions=ALL_PARTITIONS, timeout_s=40)
    for partition in ALL_PARTITIONS:  # those that it had before stay open
        await heir.wait_for("partition_opened", partition=partition, timeout_s=40)


class Sleep:
    """The time from when an engine's worker was frozen until it, or its replacement, is in the group again."""

    def __init__(self, zombie: Running, database: asyncpg.Connection) -> None:
        self._zombie = zombie
        self._database = database
        self._taken_over: dict[int, int] | None = None
        self._asleep = len(zombie.events)
        self._joins = len(zombie.seen("partitions_assigned"))

    async def others_take_over(self, heir: Running, fault_run: FaultRun) -> None:
        """Wait until the heir has written to all partitions: what the zombie writes from now on is one batch too many.

        Before that the zombie's batch is still the next one, and either of them may write it, once.
        """
        await takes_over(heir)
        await fault_run.progress()
        rows = await self._database.fetch("SELECT partition, next_offset FROM consumed_offsets")
        self._taken_over = {row["partition"]: row["next_offset"] for row in rows}

    async def ends(self) -> None:
        """Wait until the worker or its replacement has joined the group again, and consumes."""
        await self._zombie.wait_for("partitions_assigned", count=self._joins + 1, timeout_s=60)
        await shared_out(self._database, among=2)
        await consumes(self._zombie)

    def written(self) -> list[str]:
        """Return the batches that the zombie has written although others had taken over."""
        assert self._taken_over is not None, "nobody has taken over"
        awake = self._zombie.events[self._asleep :]
        joined = next(index for index, line in enumerate(awake) if line["event"] == "partitions_assigned")
        # A batch whose COMMIT was under way when its worker froze may be logged when that wakes up, and its row may
        # then say that it ended at that time. It has no offset that was open when the others had taken over.
        return [
            line["batch_id"]
            for line in awake[:joined]
            if line["event"] == "orders_committed" and line["last_offset"] >= self._taken_over[line["partition"]]
        ]


async def frozen(process: psutil.Process) -> None:
    """Wait until the process has been stopped by a signal."""

    async def status() -> str:
        return process.status()

    await eventually(status, lambda found: found == psutil.STATUS_STOPPED, timeout_s=60)


@pytest.mark.fault("3", "a worker frozen past its session, then thawed")
async def test_a_zombie_that_wakes_up_writes_nothing_and_rejoins(
    orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection
) -> None:
    """Its supervisor's patience is longer than the group's: the same process comes back, and is fenced until then."""
    zombie, heir = await started(orderflow, 1), await started(orderflow, 1)
    written = []

    async def freeze_until_the_heir_has_taken_over() -> None:
        await consumes(zombie)
        [worker] = workers(zombie)
        sleep = Sleep(zombie, database)
        freeze(worker)
        await sleep.others_take_over(heir, fault_run)
        thaw(worker)
        await fault_run.load_goes_on()
        fault_run.healed()
        await sleep.ends()
        written.extend(sleep.written())
        # On a machine that is busy enough the supervisor loses patience before the group does.
        assert workers(zombie) == [worker] or zombie.seen("worker_stuck")

    report = await fault_run.under_load(freeze_until_the_heir_has_taken_over, messages=2000, per_second=500)
    assert report.violations == []
    assert written == []
    await drain(zombie)
    await drain(heir)


@pytest.mark.fault("3", "a worker frozen past its supervisor's patience")
async def test_a_worker_that_stays_frozen_is_replaced(
    orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection
) -> None:
    """The supervisor kills it, frozen as it is, and the replacement joins the group."""
    engine = await started(orderflow, 2)

    async def freeze_until_it_is_replaced() -> None:
        await consumes(engine)
        victim = fault_run.random.choice(workers(engine))
        freeze(victim)
        stuck = await engine.wait_for("worker_stuck", timeout_s=60)
        await fault_run.load_goes_on()
        fault_run.healed()
        assert stuck["pid"] == victim.pid
        await shared_out(database, among=2)
        assert victim.pid not in [worker.pid for worker in workers(engine)]

    report = await fault_run.under_load(freeze_until_it_is_replaced, messages=2000, per_second=500)
    assert report.violations == []
    await drain(engine)


@pytest.mark.fault("3", "a whole engine frozen past every limit, then thawed")
async def test_a_paused_machine_goes_on_with_the_workers_it_had(
    orderflow: Programs, fault_run: FaultRun, database: asyncpg.Connection
) -> None:
    """A supervisor that was frozen too could not hear its workers: it does not blame them for the silence."""
    zombie, heir = await started(orderflow, 1), await started(orderflow, 1)
    written = []

    async def freeze_both_for_long() -> None:
        await consumes(zombie)
        machine = [psutil.Process(zombie.pid), *workers(zombie)]
        sleep = Sleep(zombie, database)
        freeze(*machine)
        await asyncio.gather(sleep.others_take_over(heir, fault_run), asyncio.sleep(HEARTBEAT_TIMEOUT_S + 3))
        thaw(*machine)
        await fault_run.load_goes_on()
        fault_run.healed()
        await sleep.ends()
        written.extend(sleep.written())
        assert workers(zombie) == machine[1:]

    report = await fault_run.under_load(freeze_both_for_long, messages=2000, per_second=500)
    assert report.violations == []
    assert written == []
    assert zombie.seen("worker_stuck") == []
    await drain(zombie)
    await drain(heir)


@pytest.mark.fault("3", "a worker frozen while it holds an offset's lock, then thawed")
async def test_a_zombie_that_holds_a_lock_blocks_nobody_for_long_and_writes_nothing(
    orderflow: Programs, fault_run: FaultRun, tmp_path: Path, database: asyncpg.Connection
) -> None:
    """The next owner cuts it off; when it wakes up, what it had in hand is fenced, and it joins the group again."""
    zombie = await started(orderflow, 1, **armed("after-copy=freeze@5", tmp_path))
    heir = await started(orderflow, 1)
    await heir.wait_for("partition_opened", count=2)
    [worker] = workers(zombie)
    written = []

    async def until_the_heir_has_cut_it_off() -> None:
        await frozen(worker)
        sleep = Sleep(zombie, database)
        freeze(psutil.Process(zombie.pid))  # or it might replace its worker before that can wake up
        await heir.wait_for("blocker_terminated", timeout_s=40)
        await sleep.others_take_over(heir, fault_run)
        thaw(psutil.Process(zombie.pid), worker)
        await fault_run.load_goes_on()
        fault_run.healed()
        await sleep.ends()
        written.extend(sleep.written())
        assert workers(zombie) == [worker]

    report = await fault_run.under_load(until_the_heir_has_cut_it_off, messages=2000, per_second=300)
    assert report.violations == []
    assert written == []
    await drain(zombie)
    await drain(heir)
