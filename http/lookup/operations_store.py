"""What PostgreSQL knows of the engine: its workers, its offsets, and what it has committed lately."""

import asyncio
from typing import TYPE_CHECKING, Any

import attrs

from engine.lag import Position
from engine.offsets import fetch_positions
from lookup.rates import BUCKET_S, RateWindow
from lookup.store_reader import StoreReader

if TYPE_CHECKING:
    from lookup.store_reader import Connection, Pool

FORGOTTEN_AFTER_S = 60
"""A worker that was not heard for so long, and has no supervisor that says why, is not shown any more."""
MAX_WORKERS = 500
# An empty group is told by a supervisor that is older than that column.
_WORKERS = """
SELECT worker_id, worker, host, pid, state, partitions, restarts, started_at, details::text AS details,
       greatest(extract(epoch FROM clock_timestamp() - heartbeat_at), 0)::float8 AS heartbeat_age_s
FROM workers
WHERE heartbeat_at > clock_timestamp() - make_interval(secs => $3)
  AND ((consumer_group = $1 AND topic = $2) OR consumer_group = '')
ORDER BY host, worker, worker_id LIMIT $4
"""
# The latencies are those of the average message: a batch counts as often as it has messages.
_RATES = """
SELECT floor(extract(epoch FROM committed_at) / $4::integer)::bigint AS bucket,
       sum(messages - rejected)::bigint AS accepted, sum(rejected)::bigint AS rejected,
       (sum(messages * extract(epoch FROM committed_at - consumed_at)) / nullif(sum(messages), 0))::float8 AS commit_s,
       (sum(messages * extract(epoch FROM cached_at - committed_at))
           / nullif(sum(messages) FILTER (WHERE cached_at IS NOT NULL), 0))::float8 AS cache_s
FROM batches WHERE committed_at >= to_timestamp($3) AND consumer_group = $1 AND topic = $2
GROUP BY bucket
"""


@attrs.frozen
class Stored:
    """What was found. The rows of `workers` have the columns of the table, and how old the heartbeat is."""

    workers: list[Any]
    positions: dict[int, Position]
    rates: dict[str, Any]


class OperationsStore:
    """Reads all of it in one go. It remembers the window of rates: only what may have changed is read again."""

    def __init__(self, pool: "Pool", topic: str, group: str, deadline_s: float) -> None:
        self._reader = StoreReader("operations", pool, deadline_s=deadline_s)
        self._consumer = (group, topic)
        self._deadline_s = deadline_s
        self._window = RateWindow()

    async def read(self) -> Stored:
        """Return what is stored now. Raises `StoresUnavailable`, at the latest after about the deadline."""
        return await self._reader.read(self._read)

    async def _read(self, connection: "Connection") -> Stored:
        async with asyncio.timeout(self._deadline_s):
            workers = await connection.fetch(_WORKERS, *self._consumer, FORGOTTEN_AFTER_S, MAX_WORKERS)
            positions = await fetch_positions(connection, *self._consumer)
            now_s: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
            first = self._window.first_to_read(now_s)
            rates = await connection.fetch(_RATES, *self._consumer, float(first * BUCKET_S), BUCKET_S)
        self._window.take(rates, first, now_s)
        return Stored(
            workers,
            positions,
            self._window.render(),
        )
