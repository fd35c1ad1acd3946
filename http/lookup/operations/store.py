"""Reads the state of the engine from PostgreSQL: its workers, its stored offsets and its recent rates."""

import asyncio
from typing import TYPE_CHECKING, Any

import attrs

from engine.kafka.lag import Position
from engine.postgres.offsets import fetch_positions
from engine.postgres.pauses import Pauses, fetch_pauses
from engine.postgres.session import fetch_time_s
from lookup.operations.rates import BUCKET_S, RateWindow
from lookup.operations.workers import fetch_workers
from lookup.serving.store_reader import StoreReader

if TYPE_CHECKING:
    from lookup.serving.store_reader import Connection, Pool

# The latencies are averages over messages, so each batch is weighted by its number of messages; a shared row has the
# latencies of its first batch. A subquery, not a join, so that only rows of this time are looked up.
# Only workers of an older build write to `batches.cached_at` when a batch was cached.
_RATES = """
SELECT floor(extract(epoch FROM committed_at) / $4::integer)::bigint AS bucket,
       sum(messages - rejected)::bigint AS accepted, sum(rejected)::bigint AS rejected,
       (sum(messages * extract(epoch FROM committed_at - consumed_at)) / nullif(sum(messages), 0))::float8 AS commit_s,
       (sum(messages * extract(epoch FROM cached - committed_at))
           / nullif(sum(messages) FILTER (WHERE cached IS NOT NULL), 0))::float8 AS cache_s
FROM (SELECT *, coalesce((SELECT c.cached_at FROM cached_batches c WHERE c.batch_id = b.batch_id),
                         CASE WHEN cached_at > committed_at THEN cached_at END) AS cached
      FROM batches b WHERE committed_at >= to_timestamp($3) AND consumer_group = $1 AND topic = $2) AS recent
GROUP BY bucket
"""


@attrs.frozen
class StoredState:
    """The state at `now_s`, in seconds since 1970 by the clock of PostgreSQL. `workers` are rows of `fetch_workers`."""

    now_s: float
    workers: list[Any]
    positions: dict[int, Position]
    pauses: Pauses
    rates: dict[str, Any]


class OperationsStore:
    """Reads the whole state at once. It keeps the window of rates, and reads only the buckets that may have changed."""

    def __init__(self, pool: "Pool", topic: str, group: str, deadline_s: float) -> None:
        self._reader = StoreReader("operations", pool, deadline_s=deadline_s)
        self._consumer = (group, topic)
        self._deadline_s = deadline_s
        self._window = RateWindow()

    async def read(self) -> StoredState:
        """Return the current state. Raises `StoresUnavailable` if PostgreSQL fails or the deadline is over."""
        return await self._reader.read(self._read)

    async def _read(self, connection: "Connection") -> StoredState:
        async with asyncio.timeout(self._deadline_s):
            workers = await fetch_workers(connection, *self._consumer)
            positions = await fetch_positions(connection, *self._consumer)
            pauses = await fetch_pauses(connection, *self._consumer)
            now_s = await fetch_time_s(connection)
            first = self._window.first_to_read(now_s)
            rates = await connection.fetch(_RATES, *self._consumer, float(first * BUCKET_S), BUCKET_S)
        self._window.take(rates, first, now_s)
        return StoredState(now_s, workers, positions, pauses, self._window.render())
