"""The workers of all machines, as their supervisors report them, and which of them are alive.

A heartbeat's age is computed by the database's clock, which also wrote it. No other machine's clock matters.
"""

from typing import Any

DEAD_AFTER_S = 2.5
"""A worker without a heartbeat for this time is dead. Workers send two per second, supervisors write one per second."""
FORGOTTEN_AFTER_S = 60
"""A worker without a report from its supervisor for this time is no longer listed."""
MAX_WORKERS = 500
DEAD = "dead"
# Supervisors of older builds, from before the column existed, write an empty group.
_WORKERS = f"""
SELECT worker_id, host, split_part(worker_id, '/', 2) AS supervisor, worker, pid, partitions, restarts,
       started_at, details::text AS details,
       CASE WHEN state <> '{DEAD}' THEN age_s END AS heartbeat_age_s,
       CASE WHEN age_s > {DEAD_AFTER_S} THEN '{DEAD}' ELSE state END AS state
FROM (SELECT *, greatest(extract(epoch FROM clock_timestamp() - heartbeat_at), 0)::float8 AS age_s FROM workers
      WHERE heartbeat_at > clock_timestamp() - make_interval(secs => {FORGOTTEN_AFTER_S})) AS reported
WHERE (consumer_group = $1 AND topic = $2) OR consumer_group = ''
ORDER BY host, worker, worker_id LIMIT {MAX_WORKERS}
"""


async def fetch_workers(connection: Any, group: str, topic: str) -> list[Any]:
    """Return a row for each worker of the group: `state` is `DEAD`, or the state that a live worker reports.

    `heartbeat_age_s` is None when the supervisor has reported the worker dead.
    """
    rows: list[Any] = await connection.fetch(_WORKERS, group, topic)
    return rows
