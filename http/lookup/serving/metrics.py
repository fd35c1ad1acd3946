"""The metrics. Each is declared once, here; docs/metrics.md lists them.

The engine's metrics come from a snapshot of operations: every HTTP server reports all live workers. The server's own
metrics are counted when its requests end.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

import attrs
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ENDLESS_ROUTES = frozenset({"/operations/events"})
FILES = "/ui/{file}"
"""All files that the pages load, as one route: there are many, and each would have a histogram of its own."""
_WORKER = ("host", "supervisor", "worker")
_COUNTERS = {
    "messages": "Messages consumed, accepted or not",
    "inserted": "Orders stored for the first time",
    "changed": "Orders replaced by a newer version",
    "unchanged": "Messages that changed nothing: repeats, and older versions",
    "rejected": "Messages that became dead letters",
    "batches": "Transactions committed",
    "fenced": "Batches given up because another worker owns the partition",
    "outages": "Service outages that began",
    "cached": "Orders written to Redis",
}
_PARTITION = {
    "lag": ("orderflow_partition_lag_messages", "Messages that wait to be consumed"),
    "lag_s": ("orderflow_partition_lag_seconds", "The longest time that the first waiting message may have waited"),
    "next_offset": ("orderflow_partition_next_offset", "The offset that is consumed next, as stored in PostgreSQL"),
    "end_offset": (
        "orderflow_partition_end_offset",
        "The offset after the last message that can be consumed",
    ),
    "held_by_transaction": (
        "orderflow_partition_held_messages",
        "Messages behind an open transaction, which cannot be consumed yet and do not count as lag",
    ),
}


@attrs.define
class _Totals:
    """Sums of the workers' counters. They never fall: the counts of a dead worker stay in them."""

    sums: dict[str, float] = attrs.field(factory=lambda: dict.fromkeys(_COUNTERS, 0.0))
    _last: dict[tuple[str, str], Mapping[str, int]] = attrs.field(factory=dict)

    def take(self, workers: Iterable[Mapping[str, Any]]) -> None:
        """Add the increase since the last call. A restarted worker counts from 0."""
        seen: dict[tuple[str, str], Mapping[str, int]] = {}
        for worker in workers:
            life = worker["worker_id"], worker["started_at"]
            before = self._last.get(life, {})
            seen[life] = worker["counters"]
            for name in _COUNTERS:
                self.sums[name] += max(0, worker["counters"][name] - before.get(name, 0))
        self._last = seen


_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@attrs.define
class _Durations:
    """How long the answers of a route took: how many of them up to each bound, and their sum."""

    counts: list[int] = attrs.field(factory=lambda: [0] * (len(_BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


@attrs.define
class _Answers:
    """How many answers of one kind there were, and where their durations are counted."""

    durations: _Durations
    count: int = 0


class Metrics(Collector):
    """All metrics of one HTTP server process; `process` is its name, the label of its own metrics."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._snapshot: Mapping[str, Any] = {"services": {}, "workers": [], "partitions": []}
        self._totals = _Totals()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(namespace="orderflow_http", registry=self._registry)
        # prometheus_client's own counters cost five times as much: each has a lock.
        self._answers: dict[tuple[str, str, int], _Answers] = {}
        self._durations: dict[str, _Durations] = {}
        self._lookups = {"hit": 0, "miss": 0}

    def answered(self, method: str, route: str, status: int, seconds: float, cache: str | None) -> None:
        """Count a request. `cache` is the value of `X-Cache`, or None."""
        answers = self._answers.get((method, route, status))
        if answers is None:
            # A client may send any method name: unknown ones must not create new series.
            known = method if method in hdrs.METH_ALL else "other"
            route = FILES if route.startswith("/ui/") else route
            durations = self._durations.setdefault(route, _Durations())
            answers = self._answers.setdefault((known, route, status), _Answers(durations))
        answers.count += 1
        answers.durations.add(seconds)
        if cache is not None:
            self._lookups[cache] += 1

    def render(self, snapshot: Mapping[str, Any]) -> bytes:
        """Return everything in Prometheus's text format. `snapshot` is one of `lookup.operations.snapshot`, decoded."""
        self._snapshot = snapshot
        self._totals.take(self._workers())
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the snapshot."""
        yield from _services(self._snapshot["services"])
        yield from _workers(self._workers())
        for name, total in self._totals.sums.items():
            family = CounterMetricFamily(f"orderflow_{name}", f"{_COUNTERS[name]}, by all workers")
            family.add_metric((), total)
            yield family
        yield from _partitions(self._snapshot["partitions"] or [])
        yield from self._own()

    def _own(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "orderflow_http_requests",
            "Requests answered, without those that were not valid HTTP",
            labels=("process", "method", "route", "status"),
        )
        for (method, route, status), answers in self._answers.items():
            requests.add_metric((self._process, method, route, str(status)), answers.count)
        yield requests
        seconds = HistogramMetricFamily(
            "orderflow_http_request_seconds", "How long an answer took, without streams", labels=("process", "route")
        )
        bounds = [*map(str, _BOUNDS_S), "+Inf"]
        for route, durations in self._durations.items():
            if route not in ENDLESS_ROUTES:
                counts = list(zip(bounds, accumulate(durations.counts), strict=True))
                seconds.add_metric((self._process, route), counts, durations.sum_s)
        yield seconds
        lookups = CounterMetricFamily(
            "orderflow_http_lookups",
            "Orders found, by whether Redis had them (hit) or PostgreSQL (miss)",
            labels=("process", "cache"),
        )
        for cache, count in self._lookups.items():
            lookups.add_metric((self._process, cache), count)
        yield lookups

    def _workers(self) -> list[Mapping[str, Any]]:
        return [worker for worker in self._snapshot["workers"] or [] if worker["state"] != "dead"]


METRICS = web.AppKey("metrics", Metrics)


def _services(services: Mapping[str, Any]) -> Iterator[Metric]:
    up = GaugeMetricFamily("orderflow_service_up", "1 when this part of the system is healthy", labels=("service",))
    for name, check in services.items():
        up.add_metric((name,), float(check["status"] == "ok"))
    yield up
    waiting = GaugeMetricFamily("orderflow_dead_letters_waiting", "Dead letters that wait for the dead-letter topic")
    letters = services.get("dead_letters", {}).get("waiting")
    if letters is not None:
        waiting.add_metric((), letters)
    yield waiting


def _workers(workers: list[Mapping[str, Any]]) -> Iterator[Metric]:
    counters = {
        name: CounterMetricFamily(f"orderflow_worker_{name}", f"{text}, since the worker started", labels=_WORKER)
        for name, text in _COUNTERS.items()
    }
    state = GaugeMetricFamily("orderflow_worker_state", "1 for its current state", labels=(*_WORKER, "state"))
    gauges = {
        "restarts": GaugeMetricFamily("orderflow_worker_restarts", "How often it was restarted", labels=_WORKER),
        "heartbeat_age_s": GaugeMetricFamily(
            "orderflow_worker_heartbeat_age_seconds", "The age of its last heartbeat", labels=_WORKER
        ),
        "since_commit_s": GaugeMetricFamily(
            "orderflow_worker_since_commit_seconds", "The time since its last commit", labels=_WORKER
        ),
        "waiting": GaugeMetricFamily("orderflow_worker_mailbox", "Chunks in its mailboxes", labels=_WORKER),
        "partitions": GaugeMetricFamily("orderflow_worker_partitions", "Partitions that it owns", labels=_WORKER),
        "refused": GaugeMetricFamily(
            "orderflow_worker_partitions_refused", "Partitions that it owns and cannot consume", labels=_WORKER
        ),
        "memory": GaugeMetricFamily("orderflow_worker_memory_peak_bytes", "Its peak memory", labels=_WORKER),
    }
    for worker in workers:
        labels = _labels(worker)
        for name, family in counters.items():
            family.add_metric(labels, worker["counters"][name])
        state.add_metric((*labels, worker["state"]), 1)
        for name, value in _gauges_of(worker):
            if value is not None:
                gauges[name].add_metric(labels, value)
    yield from (*counters.values(), state, *gauges.values())


def _gauges_of(worker: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    yield from ((name, worker[name]) for name in ("restarts", "heartbeat_age_s", "since_commit_s", "waiting"))
    yield from ((name, len(worker[name])) for name in ("partitions", "refused"))
    peak_kib = worker["memory_peak_kib"]
    yield "memory", None if peak_kib is None else peak_kib * 1024


def _labels(worker: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(worker[label] for label in _WORKER)


def _partitions(partitions: list[Mapping[str, Any]]) -> Iterator[Metric]:
    for key, (name, text) in _PARTITION.items():
        family = GaugeMetricFamily(name, text, labels=("partition",))
        for partition in partitions:
            if partition[key] is not None:
                family.add_metric((str(partition["partition"]),), partition[key])
        yield family
    paused = GaugeMetricFamily(
        "orderflow_partition_paused", "1 while it is paused by an operator", labels=("partition",)
    )
    for partition in partitions:
        paused.add_metric((str(partition["partition"]),), float(partition["paused_at"] is not None))
    yield paused
