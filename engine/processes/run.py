"""Runs the supervisor of an engine, which starts the workers. The workers themselves do not import this."""

from collections.abc import Sequence
from typing import Any

from engine.actors.identity import new_supervisor_id
from engine.postgres.session import session_of
from engine.processes.member_removal import MemberRemoval
from engine.processes.reports import WorkerReports
from engine.processes.restart import RestartPolicy
from engine.processes.supervisor import Child, ChildSpec, Supervisor
from engine.stages.options import SHUTDOWN_TIMEOUT_S


async def supervise(
    specs: Sequence[ChildSpec],
    postgres_options: dict[str, Any],
    kafka_options: dict[str, Any],
    *,
    group: str,
    topic: str,
    policy: RestartPolicy | None = None,
    shutdown_timeout_s: float = SHUTDOWN_TIMEOUT_S,
) -> int:
    """Run the workers until SIGTERM, and write their state into the table `workers`. Returns the exit code.

    The workers consume `topic` in the consumer group `group`. A worker that died is removed from the group at once.
    """
    options = session_of(postgres_options, "supervisor", group)
    own_id = new_supervisor_id()
    reports = WorkerReports(options, own_id, group, topic)
    removal = MemberRemoval(kafka_options, group)

    def child_gone(child: Child) -> None:
        # The process has ended, so its member can be removed. A worker that is not in the group has no member id.
        member_id = child.beat.details.get("member_id") if child.beat is not None else None
        if member_id is not None:
            removal.remove(member_id, child.spec.name)

    supervisor = Supervisor(
        specs,
        policy or RestartPolicy(),
        shutdown_timeout_s,
        reports.report,
        supervisor_id=own_id,
        child_gone=child_gone,
    )
    removal.connect()
    try:
        return await supervisor.run()
    finally:
        await removal.close()
        await reports.close(supervisor.children)
