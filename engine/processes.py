"""How the processes of an engine are run: the supervisor, which starts the workers, and each worker."""

import gc
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import uvloop

from engine.identity import new_supervisor_id
from engine.postgres import session_of
from engine.restart import RestartPolicy
from engine.supervisor import ChildSpec, Supervisor
from engine.worker_options import SHUTDOWN_TIMEOUT_S
from engine.worker_reports import WorkerReports

GC_THRESHOLDS = (100_000, 50, 100)


async def supervise(
    specs: Sequence[ChildSpec],
    postgres_options: dict[str, Any],
    *,
    group: str,
    topic: str,
    policy: RestartPolicy | None = None,
    shutdown_timeout_s: float = SHUTDOWN_TIMEOUT_S,
) -> int:
    """Keep the workers running until SIGTERM, and their state in the table `workers`. Returns the exit code.

    `group` and `topic` are what the workers consume, and in which consumer group.
    """
    options = session_of(postgres_options, "supervisor", group)
    own_id = new_supervisor_id()
    reports = WorkerReports(options, own_id, group, topic)
    supervisor = Supervisor(specs, policy or RestartPolicy(), shutdown_timeout_s, reports.report, supervisor_id=own_id)
    try:
        return await supervisor.run()
    finally:
        await reports.close(supervisor.children)


def run_worker(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run a worker's `main` in this process, which is made ready for it. Returns the exit code."""
    # What was imported lives as long as the process, and messages hold no cycles: with the default thresholds the
    # collector takes more of a worker's time than decoding does.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    return uvloop.run(main())
