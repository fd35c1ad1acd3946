"""A snapshot of the whole system's state, for the operations page and for metrics."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import attrs
from aiokafka.errors import KafkaError
from msgspec import json

from engine.actors.status import Counters
from engine.kafka.lag import Lag
from engine.kafka.lag_reader import LagReader, unknown_lag
from engine.postgres.pauses import Pauses
from lookup.operations.engine_check import count_workers
from lookup.operations.health import ENGINE, KAFKA, POSTGRESQL, Health, render_health
from lookup.operations.owners import OwnerReader
from lookup.operations.pauses import render_pause, undrained_partitions
from lookup.operations.refusals import read_refusals
from lookup.operations.store import OperationsStore, StoredState
from lookup.operations.workers import DEAD
from lookup.serving.store_reader import StoresUnavailable

_COUNTERS = [field.name for field in attrs.fields(Counters)]


class Operations:
    """Takes snapshots. A value that cannot be read at the moment is null; an outage never raises."""

    def __init__(self, health: Health, store: OperationsStore, lag: LagReader, owners: OwnerReader) -> None:
        self._health = health
        self._store = store
        self._lag = lag
        self._owners = owners

    async def snapshot(self) -> bytes:
        """Return the current state as JSON on one line: `at`, `services`, `workers`, `partitions`, `rates`."""
        # One after the other: they share a connection, and a service that failed its check is not asked again.
        parts = await self._health.examine()
        answers = {part.name for part in parts if part.answers}
        stored = await self._read_store() if POSTGRESQL in answers else None
        reached = any(part.name == KAFKA and "brokers" in part.details for part in parts)
        lags = None if stored is None else await self._measure(stored, kafka=reached)
        owners = await self._owners.read(stored.workers) if stored is not None and reached else None
        owned = {} if owners is None else owners.by_partition
        paused = _Paused.of(stored)
        services = render_health(parts)["checks"]
        if stored is not None and "workers" in services.get(ENGINE, {}):
            # The check has read them a moment before: a worker that died since would be counted as alive.
            services[ENGINE] |= count_workers(stored.workers)
        return json.encode(
            {
                "at": datetime.now(UTC) if stored is None else datetime.fromtimestamp(stored.now_s, UTC),
                "services": services,
                "workers": None if stored is None else [_render_worker(row) for row in stored.workers],
                "partitions": None if lags is None else [_render_lag(lag, owned, paused) for lag in lags],
                "rates": None if stored is None else stored.rates,
            }
        )

    async def _read_store(self) -> StoredState | None:
        try:
            return await self._store.read()
        except StoresUnavailable:
            return None

    async def _measure(self, stored: StoredState, *, kafka: bool) -> list[Lag]:
        if kafka:
            try:
                return await self._lag.read(stored.positions, stored.now_s)
            except (KafkaError, OSError):
                pass
        return unknown_lag(stored.positions)

    async def close(self) -> None:
        """Close the connections that are kept between snapshots. Closing twice is fine."""
        await self._health.stop()
        await self._lag.close()
        await self._owners.close()


@attrs.frozen
class _Paused:
    """What is paused, and which paused partitions a worker may still write."""

    pauses: Pauses = Pauses()
    undrained: Collection[int] = ()

    @classmethod
    def of(cls, stored: StoredState | None) -> "_Paused":
        if stored is None:
            return cls()
        return cls(stored.pauses, undrained_partitions(stored.workers, stored.pauses))


def _render_worker(row: Any) -> dict[str, Any]:
    details = json.decode(row["details"])
    age_s = row["heartbeat_age_s"]
    since_commit_s = details.get("since_commit_s")
    dead = row["state"] == DEAD
    return {
        "worker_id": row["worker_id"],
        "worker": row["worker"],
        "host": row["host"],
        "supervisor": row["supervisor"],
        "pid": row["pid"],
        "state": row["state"],
        "partitions": [] if dead else row["partitions"],
        "restarts": row["restarts"],
        "started_at": row["started_at"],
        "heartbeat_age_s": None if age_s is None else round(age_s, 2),
        "since_commit_s": None if dead or since_commit_s is None else round(since_commit_s + age_s, 2),
        "memory_peak_kib": details.get("memory_peak_kib"),
        "waiting": details.get("waiting", 0),
        "counters": {name: details.get(name, 0) for name in _COUNTERS},
        "outages": details.get("outages_now", {}),
        "refused": {} if dead else read_refusals(details),
    }


def _render_lag(lag: Lag, owned: Mapping[int, str | None], paused: _Paused) -> dict[str, Any]:
    pause = paused.pauses.of(lag.partition)
    return {
        "partition": lag.partition,
        "next_offset": lag.next_offset,
        "end_offset": lag.end_offset,
        "lag": lag.messages,
        "lag_s": None if lag.seconds is None else round(lag.seconds, 2),
        "held_by_transaction": lag.held,
        "owner": owned.get(lag.partition),
        **render_pause(pause),
        "drained": None if pause is None else lag.partition not in paused.undrained,
    }
