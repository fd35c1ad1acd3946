"""A system as its HTTP server's metrics show it, scrape by scrape, without processes."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import attrs
from lookup.serving.metrics import Metrics
from prometheus_client.parser import text_string_to_metric_families

COUNTERS = ("messages", "inserted", "changed", "unchanged", "rejected", "batches", "fenced", "outages", "cached")
LOOKUP = "/order/{order_uid}"
Scrape = dict[str, float]
"""Each sample's value, by its name and its labels as they stand in a query."""


def worker(number: int, messages: int, **changes: Any) -> dict[str, Any]:
    """Return a worker as snapshots report it."""
    return {
        "worker_id": f"host/1/worker-{number}",
        "host": "host",
        "supervisor": "1",
        "worker": f"worker-{number}",
        "state": "running",
        "started_at": "2026-01-01T00:00:00Z",
        "restarts": 0,
        "heartbeat_age_s": 0.5,
        "since_commit_s": None,
        "waiting": 3,
        "partitions": [0, 1],
        "refused": {},
        "memory_peak_kib": 100,
        "counters": {**dict.fromkeys(COUNTERS, 0), "messages": messages},
        **changes,
    }


@attrs.define
class ObservedSystem:
    """Two workers and a server that work. Change what is wrong, then `pass_time`, then `scrape`."""

    metrics: Metrics = attrs.field(factory=lambda: Metrics("http"))
    services: dict[str, str] = attrs.field(
        factory=lambda: dict.fromkeys(("postgresql", "redis", "kafka", "engine", "dead_letters"), "ok")
    )
    workers: list[dict[str, Any]] = attrs.field(factory=lambda: [worker(0, 0), worker(1, 0)])
    lag: int = 5
    lag_s: float | None = 2.0
    paused: bool = False
    consuming: bool = True
    rejected: int = 1
    """How many of a worker's 100 messages a scrape are rejected."""

    def pass_time(self) -> None:
        """Let each worker consume 100 messages, and the server answer 100 lookups and 6 polls of its health."""
        if self.consuming:
            for each in self.workers:
                each["counters"]["messages"] += 100
                each["counters"]["rejected"] += self.rejected
                each["counters"]["inserted"] += 100 - self.rejected
                each["counters"]["batches"] += 1
        for number in range(100):
            self.metrics.answered("GET", LOOKUP, 404 if number < 10 else 200, 0.001, None if number < 10 else "hit")
        well = all(status == "ok" for status in self.services.values())
        for _ in range(6):
            self.metrics.answered("GET", "/healthz", 200 if well else 503, 0.01, None)

    def mend(self) -> None:
        """Let everything be well again. What was counted stays counted."""
        well = ObservedSystem()
        self.services, self.consuming, self.rejected = well.services, well.consuming, well.rejected
        self.lag, self.lag_s, self.paused = well.lag, well.lag_s, well.paused
        for each in self.workers:
            each |= {"state": "running", "refused": {}}

    def exposition(self) -> str:
        """Return what `GET /metrics` answers now."""
        return self.metrics.render(self._snapshot()).decode()

    def scrape(self) -> Scrape:
        """Return the samples of `exposition`."""
        return {
            _selector(sample.name, sample.labels): sample.value
            for family in text_string_to_metric_families(self.exposition())
            for sample in family.samples
        }

    def _snapshot(self) -> dict[str, Any]:
        services: dict[str, dict[str, Any]] = {name: {"status": status} for name, status in self.services.items()}
        services["dead_letters"]["waiting"] = 0
        partition = {
            "partition": 0,
            "next_offset": 100,
            "end_offset": 100 + self.lag,
            "lag": self.lag,
            "lag_s": self.lag_s,
            "held_by_transaction": 0,
            "paused_at": "2026-01-01T00:00:00Z" if self.paused else None,
        }
        return {"services": services, "workers": deepcopy(self.workers), "partitions": [partition]}


def _selector(name: str, labels: Mapping[str, str]) -> str:
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}"
