"""What fault runs do with engines and their worker processes."""

import asyncio
import signal
from pathlib import Path

import asyncpg
import psutil
from aiokafka.admin import AIOKafkaAdminClient

from orderflow.services.process import signal_all, wait_until_gone
from orderflow.start.connections import kafka_options
from orderflow.start.settings import Settings
from tests.support.eventually import eventually
from tests.support.isolation import PARTITIONS
from tests.support.programs import Programs, Running, marked

GRACE_S = 30.0
"""How long an engine may take to drain: the default of `SHUTDOWN_TIMEOUT_S`."""
ALIVE_S = 5.0
"""A worker that has not been heard of for so long is not alive any more."""
_OWNERS = """
SELECT worker_id, unnest(partitions) AS partition FROM workers
WHERE state <> 'dead' AND heartbeat_at > clock_timestamp() - make_interval(secs => $1)
"""


async def started(orderflow: Programs, workers: int, **extra: str) -> Running:
    """Start an engine and wait until all its workers have joined the group. `extra` are environment variables."""
    engine = await orderflow.start("engine", "--workers", str(workers), **extra)
    await engine.wait_for("worker_started", count=workers, timeout_s=40)
    return engine


def armed(failpoints: str, fired: Path | None = None) -> dict[str, str]:
    """Return the variables that arm `failpoints`; each shot is fired once if `fired` is a folder to note it in."""
    noted = {} if fired is None else {"ORDERFLOW_FAILPOINTS_FIRED": str(fired)}
    return {"ORDERFLOW_FAILPOINTS": failpoints, **noted}


def workers(engine: Running) -> list[psutil.Process]:
    """Return the engine's living worker processes."""
    return [process for process in engine.children if "worker" in process.cmdline()]


async def consumes(engine: Running, batches: int = 3, timeout_s: float = 40) -> None:
    """Wait until the engine has committed some more batches."""
    await engine.wait_for("batch_committed", count=len(engine.seen("batch_committed")) + batches, timeout_s=timeout_s)


async def drain(engine: Running) -> float:
    """Stop the engine with SIGTERM, which must be clean and within the grace period; return how long it took."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    assert await engine.stop(signal.SIGTERM, GRACE_S) == 0, engine.tail()
    return clock() - begun


async def kill_supervisor(engine: Running) -> list[psutil.Process]:
    """Kill the supervisor with SIGKILL; return the workers that it had at that moment."""
    engine.send_signal(signal.SIGSTOP)  # so that it starts no worker between the look and the shot
    orphans = engine.children
    supervisor = psutil.Process(engine.pid)
    supervisor.kill()
    await all_gone([supervisor], GRACE_S)
    return orphans


async def all_gone(processes: list[psutil.Process], timeout_s: float) -> None:
    """Wait until the processes are gone. Fails after `timeout_s`."""
    if not await wait_until_gone(processes, timeout_s):
        left = [process for process in processes if process.is_running()]
        raise AssertionError(f"still there after {timeout_s:g} s: {left}")


def strays(orderflow: Programs, *families: Running) -> list[psutil.Process]:
    """Return the processes that the test has started and that belong to none of these programs."""
    known = {process.pid for program in families for process in [psutil.Process(program.pid), *program.children]}
    return [process for process in marked(orderflow.mark) if process.pid not in known]


def freeze(*processes: psutil.Process) -> None:
    """Freeze processes, as a paused machine does."""
    signal_all(processes, signal.SIGSTOP)


def thaw(*processes: psutil.Process) -> None:
    """Let frozen processes go on."""
    signal_all(processes, signal.SIGCONT)


async def shared_out(database: asyncpg.Connection, among: int) -> None:
    """Wait until `among` living workers share all partitions evenly, and each partition has exactly one owner."""

    async def look() -> dict[str, list[int]]:
        owned: dict[str, list[int]] = {}
        for row in await database.fetch(_OWNERS, ALIVE_S):
            owned.setdefault(row["worker_id"], []).append(row["partition"])
        return owned

    def wanted(owned: dict[str, list[int]]) -> bool:
        partitions = sorted(partition for some in owned.values() for partition in some)
        return partitions == list(range(PARTITIONS)) and [len(some) for some in owned.values()] == (
            [PARTITIONS // among] * among
        )

    await eventually(look, wanted, timeout_s=60)


async def group_members(settings: Settings) -> int:
    """Return how many members the consumer group has, those among them that are dead and not missed yet."""
    admin = AIOKafkaAdminClient(**kafka_options(settings))
    await admin.start()
    try:
        [answer] = await admin.describe_consumer_groups([settings.kafka_group_id])
        [(_error, _group, _state, _type, _protocol, members, *_rest)] = answer.groups
        return len(members)
    finally:
        await admin.close()


async def all_open(orderflow: Programs, **extra: str) -> Running:
    """Start an engine with two workers and wait until all partitions are open. `extra` are environment variables."""
    engine = await started(orderflow, 2, **extra)
    await engine.wait_for("partition_opened", count=PARTITIONS)
    return engine


def worker_pids(engine: Running) -> list[int]:
    """Return the process ids of the engine's workers, sorted: who is restarted has not stood the fault."""
    return sorted(process.pid for process in workers(engine))


async def resumed(engine: Running) -> str:
    """Wait for the next batch that the engine commits; return in words how long that took.

    For faults that stop the load too: with nothing sent meanwhile, nothing is left to recover.
    """
    clock = asyncio.get_running_loop().time
    begun = clock()
    await consumes(engine, batches=1, timeout_s=60)
    return f"next batch after {clock() - begun:.1f} s"
