"""The workers of all machines, as their supervisors report them; and, for all who ask, which of them are alive.

How old a heartbeat is, the database says: by its clock it was written. No other machine's clock matters.
"""

from typing import Any

DEAD_AFTER_S = 2.5
"""A worker beats twice a second and its supervisor writes once a second: who was not heard for so long is dead."""
FORGOTTEN_AFTER_S = 60
"""A worker that was not heard for so long, and has no supervisor that says why, is not told of any more."""
MAX_WORKERS = 500
DEAD = "dead"
# An empty group is told by a supervisor that is older than that column.
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
    """Return a row for each worker of the group: `state` is `DEAD`, or what a living one says of itself.

    `heartbeat_age_s` is None where a supervisor has said that the worker is dead.
    """
    rows: list[Any] = await connection.fetch(_WORKERS, group, topic)
    return rows
