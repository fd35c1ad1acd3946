"""Writes the state of the workers into PostgreSQL once a second. HTTP servers on any machine read it there."""

import asyncio
import time
from typing import Any

import structlog
from msgspec import json

from engine.actors.identity import host_name
from engine.postgres.bookkeeping import local_transaction
from engine.postgres.errors import ERRORS, describe
from engine.postgres.link import Link
from engine.processes.supervisor import Child
from engine.telemetry import events

VERSION = 1
"""The version of the table layout that this build uses. A migration that ends support for an older version checks it.

Version 0: the key of a dead letter is topic, partition and offset. Version 1: the consumer group is part of the key.
"""
DEADLINE_S = 3.0
CONNECT_S = 2.0
# All times are from the database's clock: the clock of a machine may be wrong. `started_at` is kept from the first
# report of a process.
_UPSERT = """
INSERT INTO workers (worker_id, worker, host, pid, state, partitions, restarts, started_at, heartbeat_at, details,
                     consumer_group, topic, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() - make_interval(secs => $8),
        clock_timestamp() - make_interval(secs => $9), $10::text::jsonb, $11, $12, $13)
ON CONFLICT (worker_id) DO UPDATE
SET pid = excluded.pid, state = excluded.state, partitions = excluded.partitions, restarts = excluded.restarts,
    started_at = CASE WHEN (workers.pid, workers.restarts) = (excluded.pid, excluded.restarts)
                      THEN workers.started_at ELSE excluded.started_at END,
    heartbeat_at = excluded.heartbeat_at, details = excluded.details
"""
_UNHEARD: dict[str, Any] = {"pauses": None}
"""The details of a worker that was not heard yet. The name tells that its build knows pauses."""
_FORGET = "DELETE FROM workers WHERE heartbeat_at < now() - interval '1 day' OR worker_id = ANY($1::text[])"


class WorkerReports:
    """Upserts one row per worker. Outages of PostgreSQL are ignored here: the workers log them."""

    def __init__(self, postgres_options: dict[str, Any], supervisor: str, group: str, topic: str) -> None:
        self._supervisor = supervisor
        self._consumer = (group, topic)
        self._link = Link({**postgres_options, "timeout": CONNECT_S}, DEADLINE_S)
        self._host = host_name()
        self._log = structlog.get_logger()

    def _worker_id(self, child: Child) -> str:
        return f"{self._host}/{self._supervisor}/{child.spec.name}"

    async def report(self, children: list[Child]) -> None:
        """Write the state of all children. Does not raise, and takes a few seconds at most."""
        await self._write(_UPSERT, [self._row(child) for child in children])

    async def close(self, children: list[Child]) -> None:
        """Remove this supervisor's rows, and those of supervisors that died long ago."""
        await self._write(_FORGET, [([self._worker_id(child) for child in children],)])
        await self._link.close()

    async def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        try:
            async with (
                asyncio.timeout(DEADLINE_S),
                self._link.use() as connection,
                local_transaction(connection),
            ):
                await connection.executemany(statement, rows)
        except ERRORS as error:
            self._log.debug(events.WORKER_REPORT_FAILED, error=describe(error))

    def _row(self, child: Child) -> tuple[Any, ...]:
        beat = child.beat
        alive, now_s = child.pid != 0, time.monotonic()
        return (
            self._worker_id(child),
            child.spec.name,
            self._host,
            child.pid,
            "dead" if not alive else (beat.state if beat is not None else "starting"),
            beat.partitions if beat is not None and alive else [],
            child.restarts,
            now_s - child.started_s if child.started_s else 0.0,
            now_s - child.last_heard_s if alive else 0.0,
            json.encode(beat.details if beat is not None else _UNHEARD).decode(),
            *self._consumer,
            VERSION,
        )
